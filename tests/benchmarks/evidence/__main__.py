"""What the defaults are worth, measured on one machine, in one command.

    python -m tests.benchmarks.evidence                                       the six sets, low and full data, 3 seeds
    python -m tests.benchmarks.evidence evidence.data=[shots] evidence.methods=[probe,lp_ft,l2sp,lora,full]
    python -m tests.benchmarks.evidence evidence.methods=[] evidence.sweep=40   the default against a search
    python -m tests.benchmarks.evidence evidence.sets=[flowers102,oxford_pets,dtd,eurosat,cifar100] \\
        evidence.download=true evidence.data=[vtab] evidence.image_size=224 \\
        evidence.models=[vit_base_patch16_224.augreg_in21k]                   beside what is published, with a network

Goes on where it was stopped. Everything lands under outputs/evidence: sets/ and cuts/ (the images as folders), runs/,
results.jsonl (a line a run), and evidence.json and evidence.md (the tables and the claims), written anew after each
result. The keys are described in words.py.
"""

from __future__ import annotations

import sys

from tests.benchmarks.evidence import bench, report
from tests.benchmarks.evidence.words import parse
from transfer_cli.errors import EXIT_FAILED, EXIT_OK, EXIT_USER, RunError, Stopped, UserError


def main(words: list[str]) -> int:
    """Run what is missing, write and print the report. Exit codes are those of transfer-run."""
    if words in (["--help"], ["-h"]):
        print(__doc__)
        return EXIT_OK
    try:
        study = parse(words)
        bench.check(study)
        opened = bench.Bench.open(study)
        found = []
        for result in opened.run():
            found.append(result)
            text = report.write(found, study)
        print(text)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except Stopped as stopped:
        print(f"stopped: {stopped}", file=sys.stderr)
        return stopped.code
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
