"""The jailed worker: nothing gets out, nothing is lost, everything ends."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from custodes import confine, decoding
from custodes import jail as jail_module
from custodes.decoder.hashing import examine_content
from custodes.decoding import DecodePolicy, Examined, ImageLimits, JailSettings
from custodes.errors import JailError
from custodes.jail import Jail, examine_all
from custodes.model import Content, Outcome, OutcomeName, Pdq, Reason

from .escape import ALLOWED, ATTEMPTS
from .pictures import picture, saved
from .test_image import many_scans

LIMITS = ImageLimits()
MIB = 1 << 20
PATIENCE_S = 5.0 if "PYTEST_XDIST_WORKER" not in os.environ else 20.0
"""The processor seconds that a hostile file may take: the default, but where tests run side by side cores are shared and slow."""

# A zygote whose decoder obeys orders in place of images: what a file that takes it over could make it do.
OBEDIENT = """
import ctypes, os, struct, custodes.decoder.zygote as jail
real, seen = jail.examine_content, [0]
hoard = []
def obey(data, limits, policy, recipe=None):
    seen[0] += 1
    if data == b'crash': ctypes.string_at(0)
    if data == b'crash unless first' and seen[0] > 1: ctypes.string_at(0)
    if data == b'exit': os._exit(0)
    if data == b'raise': raise KeyError('x')
    if data == b'spin':
        while True: pass
    if data == b'stall': os.read(0, 1)
    if data == b'grow':
        raise MemoryError if False else bytearray(1 << 40)
    if data == b'hoard': hoard.append(bytearray(300 << 20))
    if data == b'want': bytearray(200 << 20)
    if data == b'open': open('/etc/passwd')
    if data.startswith(b'say '): os.write(0, data[4:])
    return real(data, limits, policy, recipe)
def guarded(data, limits, policy, recipe=None):
    try:
        return obey(data, limits, policy, recipe)
    except MemoryError:
        from custodes.decoding import Examined
        from custodes.model import Reason
        return Examined(Reason.DECODE_MEMORY)
jail.examine_content = guarded
confine = jail.confine_decoder
def born(*arguments, **named):
    seen[0] = 0  # what the zygote looked at does not count
    confine(*arguments, **named)
jail.confine_decoder = born
jail.main()
"""


@pytest.fixture
def jail() -> Iterator[Jail]:
    with selectors.DefaultSelector() as selector, Jail(LIMITS, DecodePolicy.FAST, selector) as made:
        yield made


def obedient(monkeypatch: pytest.MonkeyPatch, settings: JailSettings | None = None) -> Jail:
    monkeypatch.setattr(jail_module, "_ENTRY", OBEDIENT)
    return Jail(LIMITS, DecodePolicy.FAST, selectors.DefaultSelector(), settings or JailSettings(cpu_timeout_s=20))


def run(jail: Jail, contents: list[bytes]) -> list[Examined]:
    for key, data in enumerate(contents):
        jail.submit(key, Content(data))
    jail.run_until_idle()
    results = dict(jail.results)
    assert sorted(results) == list(range(len(contents)))
    assert len(jail.results) == len(contents)
    assert jail.backlog == jail.backlog_bytes == 0
    jail.results.clear()
    return [results[key] for key in range(len(contents))]


def escapes(*arguments: str) -> dict[str, str]:
    program = [sys.executable, "-m", "decoder.escape", *arguments]
    done = subprocess.run(program, cwd=Path(__file__).parents[1], capture_output=True, check=True, timeout=100)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_every_attempt_to_leave_is_killed_or_refused() -> None:
    found = escapes()
    assert len(ATTEMPTS) >= 28
    assert {name: found[name] for name in ATTEMPTS if found[name] not in ("killed", "refused")} == {}
    assert {found[name] for name in ALLOWED} == {"escaped"}  # the suite does see what succeeds


def test_the_escape_suite_notices_a_missing_filter() -> None:
    found = escapes("--without-filter")
    assert sum(found[name] == "escaped" for name in ATTEMPTS) >= 5


def test_the_filter_knows_both_architectures_and_checks_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for machine, audit in (("x86_64", 0xC000003E), ("aarch64", 0xC00000B7)):
        monkeypatch.setattr(confine.platform, "machine", lambda machine=machine: machine)
        code = confine._filter_program()
        assert code[:8] == (0x20).to_bytes(2, "little") + bytes(2) + (4).to_bytes(4, "little")
        assert code[12:16] == audit.to_bytes(4, "little")
    monkeypatch.setattr(confine.platform, "machine", lambda: "riscv64")
    with pytest.raises(JailError, match="riscv64"):
        confine._filter_program()


@pytest.mark.parametrize("fault", ["landlock_abi = lambda: 0", "_filter_program = lambda: b''"])
def test_without_landlock_or_seccomp_nothing_runs_unless_that_is_asked_for(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        jail_module,
        "_ENTRY",
        f"import custodes.decoder.zygote as jail; import custodes.confine as confine; confine.{fault}; jail.main()",
    )
    with pytest.raises(JailError, match="cannot be confined") as caught:
        Jail(LIMITS, DecodePolicy.FAST, selectors.DefaultSelector())
    assert "--unsafe-no-jail" in str(caught.value.hint)
    unsafe = JailSettings(unsafe_no_jail=True)
    with Jail(LIMITS, DecodePolicy.FAST, selectors.DefaultSelector(), unsafe) as jail:
        assert jail.confinement == "none (unsafe)"
        assert run(jail, [saved(picture(64, 64), "PNG")])[0].reason is Reason.FULL


def test_a_decoder_that_cannot_confine_itself_later_on_stops_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    late = "import custodes.decoder.zygote as jail, custodes.confine as confine\ntrial = jail._trial\ndef after(birth):\n    hello = trial(birth)\n"
    late += "    confine.landlock_abi = lambda: 0\n    return hello\njail._trial = after\njail.main()"
    monkeypatch.setattr(jail_module, "_ENTRY", late)
    with Jail(LIMITS, DecodePolicy.FAST, selectors.DefaultSelector()) as jail:
        jail.submit(0, Content(b"<html>"))
        with pytest.raises(JailError, match="before it was confined"):
            jail.run_until_idle()
        assert not jail.results
        assert jail.backlog == 1


def test_confinement_is_named(jail: Jail) -> None:
    assert jail.confinement.startswith("landlock abi ")
    assert jail.confinement.endswith(" + seccomp")


def test_the_jail_gives_what_the_function_gives() -> None:
    files = [
        saved(picture(300, 200), kind, **({"max_threads": 1} if kind == "AVIF" else {}))
        for kind in ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF")
    ]
    files += [b"", b"<html>", b"\0\1\2\3", files[0][:300]]
    for policy in DecodePolicy:
        inside = examine_all([Content(data) for data in files], LIMITS, policy, JailSettings(decoders=2))
        assert inside == [examine_content(data, LIMITS, policy) for data in files]


CORPORA = ("img-image-rs", "img-jpeg-crash", "img-own-bombs", "img-pillow-bad", "img-pngsuite", "polyglot-mitra")
POLYGLOTS_DECODED = {
    "bmp.bmp", "gif87.gif", "gif89.gif", "jpg.jpg", "png.png", "tiff-be.tif", "tiff-le.tif", "webp.webp", "webpl.webp"
}  # fmt: skip


@pytest.mark.parametrize("policy", [DecodePolicy.FAST, pytest.param(DecodePolicy.EXACT, marks=pytest.mark.soak)])
def test_hostile_files_end_in_time_and_memory_and_none_counts_without_a_decode(
    vectors: Path, policy: DecodePolicy
) -> None:
    paths = [path for name in CORPORA for path in sorted((vectors / name).rglob("*")) if path.is_file()]
    assert len(paths) > 600
    settings = JailSettings(decoders=2, cpu_timeout_s=PATIENCE_S, wall_timeout_s=10 * PATIENCE_S)
    with Jail(LIMITS, policy, selectors.DefaultSelector(), settings) as jail:
        results = run(jail, [path.read_bytes() for path in paths])
    assert jail.peak_rss_bytes < 512 * MIB
    for path, examined in zip(paths, results, strict=True):
        seen = Outcome(examined.reason).name is OutcomeName.EXAMINED
        assert seen == bool(examined.pdq), path.name
        assert examined.reason not in (Reason.DECODER_DIED, Reason.DECODE_TIMEOUT), path.name
        if "polyglot-mitra" in path.parts:
            assert seen == (path.name in POLYGLOTS_DECODED), path.name
    by_name = {path.name: examined.reason for path, examined in zip(paths, results, strict=True)}
    assert by_name["gif_5000x5000_20000_frames.gif"] is Reason.PARTIAL_FRAMES
    assert by_name["jpeg_progressive_2000_scans.jpg"] is Reason.PARTIAL_DAMAGED
    assert by_name["html_as_image.jpg"] is by_name["svg_as_image.png"] is Reason.NOT_IMAGE
    assert by_name["webp_16383x16383.webp"] is by_name["png_40000x40000_1bit.png"] is Reason.TOO_MANY_PIXELS


def test_two_thousand_scans_end_by_the_scan_limit_and_without_it_by_the_time_limit() -> None:
    data = many_scans(2000)
    assert examine_all([Content(data)], LIMITS, DecodePolicy.EXACT)[0].reason is Reason.PARTIAL_DAMAGED
    unlimited = ImageLimits(jpeg_scans_max=100_000)
    hurried = JailSettings(cpu_timeout_s=0.05)
    (examined,) = examine_all([Content(data)], unlimited, DecodePolicy.EXACT, hurried)
    assert examined.reason is Reason.DECODE_TIMEOUT


def deaths(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    good = [saved(picture(64, 64, seed), "PNG") for seed in range(4)]
    expected = [examine_content(data, LIMITS, DecodePolicy.FAST) for data in good]
    orders = [b"crash", b"exit", b"raise", b"open"]
    contents = [data for at in range(count) for data in (good[at % 4], orders[at % 4])]
    with obedient(monkeypatch, JailSettings(decoders=3, cpu_timeout_s=20)) as jail:
        results = run(jail, contents)
    assert results[0::2] == [expected[at % 4] for at in range(count)]
    assert {examined.reason for examined in results[1::2]} == {Reason.DECODER_DIED}


def test_a_death_is_the_outcome_of_one_image_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    deaths(50, monkeypatch)


@pytest.mark.soak
def test_five_hundred_deaths_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    deaths(500, monkeypatch)


def test_decoders_killed_from_outside_lose_nothing(jail: Jail) -> None:
    data = [saved(picture(64, 64, seed), "PNG") for seed in range(4)]
    expected = [examine_content(item, LIMITS, DecodePolicy.FAST) for item in data]
    for turn in range(50):
        for key in range(4):
            jail.submit(key, Content(data[key]))
        os.kill(jail._decoders[0].pid, signal.SIGKILL)
        jail.run_until_idle()
        results = dict(jail.results)
        jail.results.clear()
        assert results.pop(0) in (expected[0], Examined(Reason.DECODER_DIED)), turn
        assert [results[key] for key in (1, 2, 3)] == expected[1:]


def test_an_image_that_dies_after_others_is_tried_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with obedient(monkeypatch) as jail:
        good, late = saved(picture(64, 64), "PNG"), b"crash unless first"
        assert [examined.reason for examined in run(jail, [good, late, good])] == [
            Reason.FULL,
            Reason.NOT_IMAGE,  # alone the order changes nothing, and it is text
            Reason.FULL,
        ]


def test_lack_of_memory_left_by_another_image_is_not_this_images_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    with obedient(monkeypatch) as jail:
        reasons = [examined.reason for examined in run(jail, [b"hoard", b"want", b"grow", b"want"])]
    assert reasons == [Reason.NOT_IMAGE, Reason.NOT_IMAGE, Reason.DECODE_MEMORY, Reason.NOT_IMAGE]


def test_an_endless_image_is_killed_and_the_queue_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with obedient(monkeypatch, JailSettings(cpu_timeout_s=0.3, wall_timeout_s=60)) as jail:
        assert jail.timeout_s() is None
        good = saved(picture(64, 64), "PNG")
        jail.submit(9, Content(b"spin"))
        wait = jail.timeout_s()
        assert wait is not None
        assert 0 <= wait <= 0.3
        jail.run_until_idle()
        assert jail.results.pop() == (9, Examined(Reason.DECODE_TIMEOUT))
        assert [examined.reason for examined in run(jail, [good, b"spin", good])] == [
            Reason.FULL,
            Reason.DECODE_TIMEOUT,
            Reason.FULL,
        ]


def test_an_image_that_waits_uses_no_processor_and_ends_by_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    with obedient(monkeypatch, JailSettings(cpu_timeout_s=0.05, wall_timeout_s=0.6)) as jail:
        began = time.monotonic()
        assert [examined.reason for examined in run(jail, [b"stall"])] == [Reason.DECODE_TIMEOUT]
        assert time.monotonic() - began >= 0.6


def test_a_decoder_that_is_kept_waiting_by_the_machine_is_not_timed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with obedient(monkeypatch, JailSettings(cpu_timeout_s=0.2, wall_timeout_s=60)) as jail:
        good = saved(picture(64, 64), "PNG")
        first = run(jail, [good])
        pid = jail._decoders[0].pid
        os.kill(pid, signal.SIGSTOP)
        later = threading.Timer(0.6, os.kill, (pid, signal.SIGCONT))
        later.start()
        assert run(jail, [good]) == first
        later.join()


def answer(reason: int = 0, kind: int = 1, count: int = 1, quality: int = 50) -> bytes:
    return decoding.HEAD.pack(reason, kind, count, 10, 10) + count * decoding.CODE.pack(
        0, quality, bytes(32), bytes(96)
    )


LIES = {
    "a reason that does not exist": answer(reason=250),
    "a reason that only others may give": answer(reason=list(Reason).index(Reason.HTTP_404), count=0),
    "a format that does not exist": answer(kind=9),
    "too many codes": answer(count=101),
    "quality over 100": answer(quality=101),
    "examined without a code": answer(count=0),
    "undecodable with a code": answer(reason=list(Reason).index(Reason.BROKEN)),
    "more than one answer": answer() + answer(),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_no_honest_decoder_sends_is_a_death(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="answer"):
        decoding.unpacked(LIES[lie])
    with obedient(monkeypatch) as jail:
        good = saved(picture(64, 64), "PNG")
        reasons = [examined.reason for examined in run(jail, [b"say " + LIES[lie], good])]
    assert reasons == [Reason.DECODER_DIED, Reason.FULL]


def test_answers_survive_the_wire_whole_and_byte_by_byte() -> None:
    examined = Examined(
        Reason.PARTIAL_FRAMES,
        "avif",
        70000,
        3,
        tuple(Pdq(bytes([n] * 32), n, n * 1000, bytes([n] * 96)) for n in range(100)),
    )
    packed = decoding.packed(examined)
    assert decoding.unpacked(packed) == examined
    assert all(decoding.unpacked(packed[:size]) is None for size in range(len(packed)))


def test_a_large_image_passes_through_a_small_pipe(jail: Jail) -> None:
    data = saved(picture(1500, 1200), "BMP")
    assert len(data) > 5_000_000
    jail.submit(1, Content(data))
    assert (jail.backlog, jail.backlog_bytes, jail.idle) == (1, len(data), False)
    jail.run_until_idle()
    assert jail.results.pop() == (1, examine_content(data, LIMITS, DecodePolicy.FAST))


def test_decoders_are_replaced_after_their_number_of_images() -> None:
    settings = JailSettings(images_max=2)
    with Jail(LIMITS, DecodePolicy.FAST, selectors.DefaultSelector(), settings) as jail:
        pids = set()
        for _ in range(6):
            jail.submit(0, Content(b"<html>"))
            pids.add(jail._decoders[0].pid)
            jail.run_until_idle()
    assert len(pids) == 3


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_everything_dies_with_the_carrier() -> None:
    program = (
        "import selectors, time\nfrom custodes.jail import *\nfrom custodes.decoding import *\nfrom custodes.model import Content\n"
        "j = Jail(ImageLimits(), DecodePolicy.FAST, selectors.DefaultSelector())\nj.submit(0, Content(b'<'))\nj.run_until_idle()\n"
        "print(j._process.pid, j._decoders[0].pid, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as carrier:
        assert carrier.stdout is not None
        pids = [int(pid) for pid in carrier.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        carrier.kill()
    for _ in range(1000):
        if not any(alive(pid) for pid in pids):
            return
        selectors.DefaultSelector().select(0.01)
    pytest.fail("a process outlived its carrier")


def test_the_decoder_knows_no_secret_of_its_carrier(jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODES_SECRET", "x")
    secret_file = os.open(os.devnull, os.O_RDONLY)
    with Jail(LIMITS, DecodePolicy.FAST, selectors.DefaultSelector()) as other:
        zygote = Path(f"/proc/{other._process.pid}")
        assert b"CUSTODES_SECRET" not in (zygote / "environ").read_bytes()
        assert {int(entry.name) for entry in (zygote / "fd").iterdir()} <= {0, 1, 2}
        other.submit(0, Content(b"<html>"))
        other.run_until_idle()
        decoder = other._decoders[0].pid
        assert {int(entry.name) for entry in Path(f"/proc/{decoder}/fd").iterdir()} <= {0, 1, 2}
        status = Path(f"/proc/{decoder}/status").read_text()
        assert "Seccomp:\t2" in status
        assert "NoNewPrivs:\t1" in status
    os.close(secret_file)


def test_a_dead_zygote_is_an_error_that_says_so(jail: Jail) -> None:
    os.kill(jail._process.pid, signal.SIGKILL)
    jail._process.wait()
    with pytest.raises(JailError, match="has ended"):
        run(jail, [b"<html>"])


def test_settings_refuse_what_makes_no_sense() -> None:
    for name, value in (
        ("decoders", 0),
        ("wall_timeout_s", 0),
        ("cpu_timeout_s", 0),
        ("memory_bytes_max", 1),
        ("images_max", 0),
    ):
        with pytest.raises(ValueError, match=f"{name} must be"):
            JailSettings(**{name: value})
