"""script/check keeps its checks apart and stops at the first that fails."""

import os
import pathlib
import subprocess
import unittest

CHECK = pathlib.Path(__file__).resolve().parents[2] / "script" / "check"


def run_checks(**functions: str) -> subprocess.CompletedProcess:
    """Runs script/check with these checks, given as bodies of shell functions, in their order."""
    exported = {f"BASH_FUNC_check_{name}%%": f"() {{ {body}; }}" for name, body in functions.items()}
    return subprocess.run(["bash", CHECK, *functions], env=os.environ | exported, capture_output=True, text=True)


class CheckTest(unittest.TestCase):
    def test_what_one_check_exports_is_not_seen_by_the_next(self):
        result = run_checks(
            exporting="export LEFT_BEHIND=1; cd /",
            next='echo "left behind: ${LEFT_BEHIND:-nothing}"; [ -f script/check ]',
        )
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("left behind: nothing", result.stdout)

    def test_a_command_that_fails_inside_a_check_ends_the_script(self):
        result = run_checks(failing="false; echo went on", next="echo next")
        self.assertNotEqual(result.returncode, 0)
        self.assertNotIn("went on", result.stdout)
        self.assertNotIn("check next", result.stdout)


if __name__ == "__main__":
    unittest.main()
