#!/bin/sh
# Runs third-party clients against the simulators: jsforce, simple-salesforce, and HubSpot's two clients. Their
# dependencies are installed into a temporary folder; the simulators end with this script. `run.sh airbyte` runs Airbyte's
# source for Salesforce instead, which is a large installation.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'exec 3>&- 4>&- 2>/dev/null || true; rm -rf "$work"' EXIT

sim=${SALESFORCE_SIM:-}
if [ -z "$sim" ]; then
    (cd "$root" && cargo build --quiet -p salesforce-sim)
    sim=${CARGO_TARGET_DIR:-$root/target}/debug/salesforce-sim
fi

hubspot=${HUBSPOT_SIM:-}
if [ -z "$hubspot" ]; then
    (cd "$root" && cargo build --quiet -p hubspot-sim)
    hubspot=${CARGO_TARGET_DIR:-$root/target}/debug/hubspot-sim
fi

start_salesforce() { # start_salesforce OPTION...
    mkfifo "$work/stdin"
    "$sim" --exit-with-parent "$@" <"$work/stdin" >"$work/line" &
    exec 3>"$work/stdin"
}

wait_for() { # wait_for FILE...: each simulator writes one line with its addresses
    for file in "$@"; do
        tries=0
        while [ ! -s "$file" ]; do
            tries=$((tries + 1))
            [ $tries -lt 100 ] || { echo "a simulator did not start" >&2; exit 1; }
            sleep 0.1
        done
    done
}

value() { python3 -c "import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])" "$work/line${2:-}" "$1"; }

if [ "${1:-}" = airbyte ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/airbyte/requirements.txt"
    start_salesforce --accounts 3000
    wait_for "$work/line"
    "$work/venv/bin/python" "$here/airbyte/run.py" "$(value http)"
    exit
fi

cp -r "$here/jsforce" "$here/simple_salesforce" "$here/hubspot_node" "$here/hubspot_python" "$work/"
for client in jsforce hubspot_node; do
    (cd "$work/$client" && npm ci --silent --no-audit --no-fund --ignore-scripts)
done
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    -r "$work/simple_salesforce/requirements.txt" -r "$work/hubspot_python/requirements.txt"

# The key pair of the JWT flow: the client's private key, and the public key that is registered with the app.
openssl genrsa -out "$work/jwt.key" 2048 2>/dev/null
openssl rsa -in "$work/jwt.key" -pubout -out "$work/jwt.pub" 2>/dev/null

start_salesforce --tls-port 0 --tls-dir "$work/tls" --accounts 6000 --skew 2500 --jwt-public-key "$work/jwt.pub"
mkfifo "$work/stdin-hubspot"
"$hubspot" --companies 1200 --exit-with-parent <"$work/stdin-hubspot" >"$work/line-hubspot" &
exec 4>"$work/stdin-hubspot"
wait_for "$work/line" "$work/line-hubspot"

node "$work/jsforce/run.mjs" "$(value http)"
REQUESTS_CA_BUNDLE=$(value ca) \
    "$work/venv/bin/python" "$work/simple_salesforce/run.py" "$(value https)" "$(value http)" "$work/jwt.key"
node "$work/hubspot_node/run.mjs" "$(value http -hubspot)"
"$work/venv/bin/python" "$work/hubspot_python/run.py" "$(value http -hubspot)"
echo "all four clients agree"
