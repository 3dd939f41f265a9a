"""An engine that fails with a real log until its plan is small enough, then serves like any other.

Stands in an environment as `bin/vllm` or `bin/python` (llama.cpp's wheel); `rules.json` beside it
says when it fails: `{"most_context": N, "needs_eager": true, "always": true}`, with which `log`
(a file) and `exit_code`, or by which `signal`; `says` is a file that it prints and goes on. What
it was started with goes to `starts.jsonl`.
"""

import argparse
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
RULES = json.loads((HERE / "rules.json").read_text())


def main():
    """Fail as the rules say, or become the fake engine."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--max-model-len", "--ctx-size", type=int, dest="context")
    parser.add_argument("--uds", "--host", dest="socket")
    parser.add_argument("--served-model-name", nargs="+", default=["toy"])
    parser.add_argument("--gpu-layers", dest="layers")
    parser.add_argument("--enforce-eager", action="store_true", dest="eager")
    options, rest = parser.parse_known_args()
    with (HERE / "starts.jsonl").open("a") as starts:
        start = {"context": options.context, "eager": options.eager, "layers": options.layers}
        print(json.dumps(start), file=starts)
    if "--frobnicate" in rest:
        sys.exit("vllm: error: unrecognized arguments: --frobnicate")
    too_long = options.context > RULES.get("most_context", options.context)
    if too_long or (RULES.get("needs_eager") and not options.eager) or RULES.get("always"):
        if "signal" in RULES:
            os.kill(os.getpid(), RULES["signal"])
        sys.stderr.write(Path(RULES["log"]).read_text())
        sys.exit(RULES.get("exit_code", 1))
    if "says" in RULES:
        sys.stderr.write(Path(RULES["says"]).read_text())
    engine = [sys.executable, RULES["fake_engine"], "--uds", options.socket]
    engine += ["--model", options.served_model_name[0]]
    os.execv(engine[0], engine)  # noqa: S606 - it becomes that program


if __name__ == "__main__":
    main()
