"""No output ends the programs, and if a package is missing they say in a sentence what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, environment, is_one_sentence

PRINTS = """
import sys
from srgan.commands.console import prepare
prepare("this")
for number in range(int(sys.argv[1])):
    print("写真", "\\udcff", number)
print("all is done 写真", file=sys.stderr)
"""


def bare_python(*arguments: str) -> list[str]:
    """Returns a command for Python without any package, which starts fast."""
    return [sys.executable, "-S", *arguments]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_letters_that_an_output_does_not_have_are_escaped(encoding: str) -> None:
    command = bare_python("-c", PRINTS, "1")
    done = subprocess.run(command, capture_output=True, env=environment(PYTHONIOENCODING=encoding), check=False)
    assert done.returncode == 0, done.stderr
    wanted = "写真" if encoding == "utf-8" else r"\u5199\u771f"
    assert done.stdout.decode(encoding).split() == [wanted, r"\udcff", "0"]
    assert done.stderr.decode(encoding).split() == ["all", "is", "done", wanted]


def test_work_goes_on_when_nobody_reads_its_output_any_more() -> None:
    process = subprocess.Popen(
        bare_python("-c", PRINTS, "20000"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0 and said.split()[:3] == ["all", "is", "done"]
    assert "Error" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_an_output_on_a_full_disk_is_said_once() -> None:
    with Path("/dev/full").open("w") as full:
        command = bare_python("-c", PRINTS, "20000")
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=environment(), text=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0 and "all is done" in done.stderr
        assert done.stderr.count(os.strerror(28)) == 1 and "Traceback" not in done.stderr
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=full, env=environment(), timeout=60, check=False
        )
        assert done.returncode == 0


@pytest.mark.parametrize("program", [("-m", "srgan", "upscale", "a", "b"), ("train.py", "--help"), ("app.py",)])
def test_a_program_without_its_packages_says_how_to_get_them(program: tuple[str, ...], tmp_path: Path) -> None:
    arguments = [str(ROOT / part) if part.endswith(".py") else part for part in program]
    done = subprocess.run(
        bare_python(*arguments), cwd=tmp_path, capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 1 and is_one_sentence(done.stderr), done.stderr
    for part in (sys.executable, "make demo", "activate", "Windows", "pip install -r requirements.txt"):
        assert part in done.stderr


def test_an_output_that_was_put_in_its_place_stays_open() -> None:
    code = "import os, sys; sys.stdout = os.fdopen(os.dup(1), 'w', encoding='ascii'); " + PRINTS
    done = subprocess.run(bare_python("-c", code, "1"), capture_output=True, env=environment(), check=False)
    assert done.returncode == 0 and done.stdout.split()[0] == rb"\u5199\u771f"


def test_what_else_goes_wrong_keeps_its_traceback() -> None:
    for fault in ("import srgan.no_such_module", "1 / 0"):
        code = f"from srgan.commands.console import prepare; prepare('this'); {fault}"
        done = subprocess.run(bare_python("-c", code), capture_output=True, text=True, env=environment(), check=False)
        assert done.returncode == 1 and "Traceback" in done.stderr


@pytest.mark.parametrize("program", ["train.py", "app.py"])
def test_a_usage_error_names_the_help_as_it_is_typed(program: str) -> None:
    command = [sys.executable, program, "--no-such"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 2
    assert done.stderr == f"{program}: unrecognized arguments: --no-such (see python {program} --help)\n"
