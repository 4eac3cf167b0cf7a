"""``python tests/slow.py durations.xml``: which tests ``-m "not slow"`` leaves out.

The file is what ``python -m pytest -n 2 --junitxml=durations.xml`` wrote on a quiet machine. A
test of several cases is slow if all of them together are. Writes slow.txt beside this script.
"""

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

#: Seconds from which on a test is slow.
LIMIT = 1.0
LIST = Path(__file__).with_name("slow.txt")


def name_of(case):
    """As in slow.txt: module and function, without what a case is called."""
    return f"{case.get('classname')}::{case.get('name').partition('[')[0]}"


def main(path):
    """List the slow tests, and print how long the others take."""
    seconds = Counter()
    for case in ElementTree.parse(path).iter("testcase"):
        seconds[name_of(case)] += float(case.get("time"))
    slow = sorted(name for name, total in seconds.items() if total >= LIMIT)
    LIST.write_text("".join(f"{name}\n" for name in slow))
    others = sum(total for total in seconds.values() if total < LIMIT)
    print(
        f"{len(slow)} of {len(seconds)} tests are slow; the others take {others:.0f} s in all"
    )


if __name__ == "__main__":
    main(sys.argv[1])
