#!/usr/bin/env bash
# The FFI code under valgrind: the ABI's buffers, the SDK's side of the table, the host's side of it, and libraries of the
# corpus (tests/broken) that use memory in unusual ways, loaded into the test's own process. Fails at the first invalid access,
# and at definitely lost memory. Part of ./test; needs valgrind (apt install valgrind) and the tests' requirements.
#
# ring (SHA-2, TLS) uses only instructions that valgrind supports; child processes are not traced, because they run the
# same code.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null || { echo "valgrind is not installed" >&2; exit 1; }

# The whole workspace, as in ./test: any other set of packages has other features and would be built again.
binaries=$(cargo test --quiet --workspace --lib --bins --tests --no-run --message-format=json-render-diagnostics | python3 -c '
import json, sys
for line in sys.stdin:
    said = json.loads(line)
    if said.get("executable") and said["profile"]["test"]:
        print(said["target"]["name"], said["executable"])')

under_valgrind() { # under_valgrind TARGET TEST…
  local binary
  binary=$(awk -v target="$1" '$1 == target { print $2 }' <<<"$binaries")
  [ -x "$binary" ] || { echo "there is no test binary of $1" >&2; exit 1; }
  for test in "${@:2}"; do
    echo "== $1 $test"
    local said
    said=$(valgrind --quiet --error-exitcode=97 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
      --suppressions=tests/valgrind.supp --fair-sched=yes --num-callers=30 \
      "$binary" --test-threads=1 "$test" 2>&1) || { echo "$said"; exit 1; }
    echo "$said"
    grep -q "test result: ok. [1-9]" <<<"$said" || { echo "no test is called $test any more" >&2; exit 1; }
  done
}

under_valgrind tether_connector_abi buffer
under_valgrind tether_connector_sdk export
under_valgrind tether_connector_host ffi call_table frame
under_valgrind it memory_is_freed_once_by_who_made_it
echo "valgrind found nothing"
