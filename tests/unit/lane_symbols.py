"""The code of each back end of lanes is that of some CPUs alone. What of it other code could be linked with is nothing but
its table of functions: a header's function that was not inlined would be a weak symbol, and the linker may take any copy."""

import subprocess
import sys

wrong = []
for archive in sys.argv[1:]:
    listed = subprocess.run(["nm", "--defined-only", "--extern-only", "--demangle", archive], check=True, capture_output=True,
                            text=True).stdout
    symbols = [line.split(maxsplit=2)[2] for line in listed.splitlines() if len(line.split(maxsplit=2)) == 3]
    if len(symbols) != 1 or not symbols[0].endswith("::kPath"):
        wrong.append(f"{archive} defines {', '.join(symbols) or 'nothing'}")
print("\n".join(wrong) or "nothing but a table each")
sys.exit(1 if wrong else 0)
