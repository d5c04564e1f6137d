#!/usr/bin/env bash
# The FFI code under valgrind: the ABI's buffers, the SDK's side of the table, the host's side of it, and libraries of the
# corpus (tests/broken) that use memory in odd ways, loaded into the test's own process. Fails at the first invalid access,
# and at memory that is definitely lost. Takes some minutes; needs valgrind (apt install valgrind) and what the tests need.
#
# ring (SHA-2, TLS) uses no instruction that valgrind does not know; children are not followed: they are the same code.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null || { echo "valgrind is not installed" >&2; exit 1; }

under_valgrind() { # under_valgrind PACKAGE TARGET TEST…
  local package=$1 target=$2
  shift 2
  local binary
  # shellcheck disable=SC2086 # the target is two words
  binary=$(cargo test --quiet --package "$package" $target --no-run --message-format=json |
    python3 -c 'import json,sys
for line in sys.stdin:
    said = json.loads(line)
    if said.get("executable") and said.get("profile", {}).get("test"): print(said["executable"])' | tail -1)
  for test in "$@"; do
    echo "== $package $test"
    valgrind --quiet --error-exitcode=97 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
      --suppressions=tests/valgrind.supp --fair-sched=yes --num-callers=30 \
      "$binary" --test-threads=1 "$test"
  done
}

under_valgrind tether-connector-abi --lib buffer
under_valgrind tether-connector-sdk --lib export
under_valgrind tether-connector-host --lib ffi call_table frame
under_valgrind tether "--test it" memory_is_freed_once_by_who_made_it
echo "valgrind found nothing"
