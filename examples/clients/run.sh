#!/bin/sh
# Runs the client examples against the demo server, and the guides of two groups against a server of their own
# (target/debug/tether and the simulated Salesforce beside it, as `cargo xtask connectors` builds them). Their dependencies
# are installed into a temporary folder; the servers end with this script. TETHER_BIN names another server.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
server=${TETHER_BIN:-$target/debug/tether}
work=$(mktemp -d)
pid= serve= simulator=
trap 'for one in $pid $serve $simulator; do kill "$one" 2>/dev/null || true; done; rm -rf "$work"' EXIT
[ -x "$server" ] && [ -d "$target/connectors/salesforce" ] || { echo "run \`cargo xtask connectors\` first" >&2; exit 1; }

cp -r "$here/python" "$here/typescript" "$work/"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check -r "$work/python/requirements.txt"
PYTHON="$work/venv/bin/python" PROTOS="$root/proto" "$work/python/generate"
mkdir -p "$work/proto" && cp -r "$root/proto/." "$work/proto/"
sed -i 's#\.\./\.\./\.\./proto#../proto#g' "$work/typescript/buf.gen.yaml"
(cd "$work/typescript" && npm ci --silent --no-audit --no-fund --ignore-scripts && npm run --silent generate)

# The demo runs the guides, then keeps running and prints the commands to paste.
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

# The guides of two groups need a server without integrations: they get their own, with its own simulator.
answers() { # FILE PID: waits for the line that a program prints when it is up
    tries=0
    while [ ! -s "$1" ]; do
        tries=$((tries + 1))
        if [ $tries -ge 300 ] || ! kill -0 "$2" 2>/dev/null; then
            echo "it did not come up:" >&2
            tail -n 20 "$1.log" >&2
            exit 1
        fi
        sleep 0.1
    done
}
value() { python3 -c "import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])" "$1" "$2"; }
"$(dirname "$server")/salesforce-sim" --accounts 60 >"$work/simulator" 2>"$work/simulator.log" &
simulator=$!
answers "$work/simulator" "$simulator"
crm=$(value "$work/simulator" http)
"$server" serve --dev --data-dir "$work/data" --set connectors.dir="$target/connectors" \
    --set connector.salesforce.settings.client_id=3MVG9tether.demo \
    --set connector.salesforce.settings.client_secret=tether-demo-secret \
    --set connector.salesforce.settings.login_host_override="$crm" \
    --set connector.salesforce.plain_http_hosts="${crm#http://}" \
    --set listen.grpc=127.0.0.1:0 --set listen.callback=127.0.0.1:0 --set listen.admin=127.0.0.1:0 \
    >"$work/serve" 2>"$work/serve.log" &
serve=$!
answers "$work/serve" "$serve"
token() { "$server" token --data-dir "$work/data" "$@"; }
echo "== Python, the guides of two groups"
TETHER=$(value "$work/serve" grpc) ANN=$(token --subject ann --group acme) GIL=$(token --subject gil --group globex) \
    PLATFORM=$(token --subject platform --role service) "$work/venv/bin/python" "$work/python/guides.py"
echo "== TypeScript (gRPC-Web)"
(cd "$work/typescript" && npm run --silent start)
echo "the client examples run"
