"""The policies in force at one gateway: the site's, and those of tenants, each on top of it.

Promises that no tenant has a policy that does not stand on the site's, whole, and that a rule's name means one rewriting at this gateway. A value: to reload is
to take another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from custodes.errors import ConfigError
from custodes.gateway.rules.deciding import decide
from custodes.gateway.rules.policy import Policy, Rule
from custodes.gateway.vocabulary import Action, Fact, Stage, Verdict

__all__ = ["Rulebook"]


@dataclass(frozen=True)
class Rulebook:
    """The site's policy, and by tenant the stricter ones. Raises ConfigError where one is not stricter."""

    site: Policy
    tenants: Mapping[str, Policy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for tenant, policy in self.tenants.items():
            self._check(tenant, policy)
        self.rewriting()

    def of(self, tenant: str) -> Policy:
        """The policy that holds for a tenant."""
        return self.tenants.get(tenant, self.site)

    def decide(self, facts: Sequence[Fact], stage: Stage, *, tenant: str, acknowledged: bool) -> Verdict:
        """The verdict of the tenant's policy."""
        return decide(self.of(tenant), facts, stage, acknowledged=acknowledged)

    def keeps(self, verdict: Verdict, tenant: str) -> bool:
        """Whether what was withheld is sealed; else it is destroyed."""
        return self.of(tenant).keeps(verdict)

    def rewriting(self) -> Mapping[str, Rule]:
        """The rules that rewrite, by name. Raises ConfigError where one name means two."""
        found: dict[str, Rule] = {}
        for policy in (self.site, *self.tenants.values()):
            for rule in policy.rules:
                if rule.action is Action.REWRITE and found.setdefault(rule.name, rule) != rule:
                    raise ConfigError(f"policies of two tenants rewrite differently by one name: {rule.name!r}")
        return found

    def _check(self, tenant: str, policy: Policy) -> None:
        if self.site.version not in (policy.version, *policy.bases):
            raise ConfigError(
                f"the policy {policy.name} of tenant {tenant} does not stand on the site's, {self.site.name}",
                hint="name the site's policy as its base: a tenant's rules are added to it",
            )
        if (policy.keep, policy.jurisdiction) != (self.site.keep, self.site.jurisdiction):
            raise ConfigError(
                f"the policy {policy.name} of tenant {tenant} changes what is kept, or the jurisdiction",
                hint="leave keep and jurisdiction out: they are the site's",
            )
