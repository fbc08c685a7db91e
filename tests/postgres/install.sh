#!/usr/bin/env bash
# For `make test`: PostgreSQL's own programs from Debian's package, where they are absent and may be installed. Tests start private servers from them.
# CUSTODES_TEST_POSTGRES=postgresql://… names a server instead. Without either, tests of PostgreSQL are skipped, loudly.
set -euo pipefail
if [ -n "${CUSTODES_TEST_POSTGRES:-}" ] || compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then exit 0; fi
mkdir -p /etc/postgresql-common/createcluster.d
echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/custodes-tests.conf # no server of the machine's own
export DEBIAN_FRONTEND=noninteractive
(apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql) >/dev/null 2>&1 ||
  echo "PostgreSQL could not be installed: its tests will be skipped" >&2
