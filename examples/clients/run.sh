#!/bin/sh
# Runs the client examples against the demo server (target/debug/tether and the simulated Salesforce beside it, as
# `cargo xtask connectors` builds them). Whatever they need is installed into a throw-away folder; the server ends with
# this script. TETHER_BIN names another server.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
server=${TETHER_BIN:-$target/debug/tether}
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
[ -x "$server" ] && [ -d "$target/connectors/salesforce" ] || { echo "run \`cargo xtask connectors\` first" >&2; exit 1; }

cp -r "$here/python" "$here/typescript" "$work/"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check -r "$work/python/requirements.txt"
PYTHON="$work/venv/bin/python" PROTOS="$root/proto" "$work/python/generate"
mkdir -p "$work/proto" && cp -r "$root/proto/." "$work/proto/"
sed -i 's#\.\./\.\./\.\./proto#../proto#g' "$work/typescript/buf.gen.yaml"
(cd "$work/typescript" && npm ci --silent --no-audit --no-fund --ignore-scripts && npm run --silent generate)

# The demo walks through the guides, then stays up and prints what to paste.
"$server" demo --connectors "$target/connectors" --companies 120 >"$work/demo" 2>"$work/demo.log" &
pid=$!
tries=0
while ! grep -q '^ *Metrics: ' "$work/demo"; do
    tries=$((tries + 1))
    if [ $tries -ge 600 ] || ! kill -0 "$pid" 2>/dev/null; then
        echo "the demo did not come up:" >&2
        tail -n 20 "$work/demo" "$work/demo.log" >&2
        exit 1
    fi
    sleep 0.1
done
TOKEN=$(sed -n 's/^export TOKEN=//p' "$work/demo")
TETHER=$(sed -n 's/^grpcurl .*Bearer \$TOKEN" \([0-9.:]*\) list .*/\1/p' "$work/demo")
export TOKEN TETHER

echo "== Python"
"$work/venv/bin/python" "$work/python/first_steps.py"
echo "== TypeScript (gRPC-Web)"
(cd "$work/typescript" && npm run --silent start)
echo "the client examples run"
