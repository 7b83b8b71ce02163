#!/bin/bash
# Builds the image with neither a registry nor a daemon, and asks a server in it whether it is ready.
#
#   apt-get install buildah mmdebstrap                     (Debian, as root)
#   uv build --wheel --out-dir dist
#   deploy/container/try.sh /var/tmp/loadlock-image        (a new directory; it takes some minutes and 2 GB)
#
# The base is a Debian of its own, made here: it trusts the certificates that this machine trusts, and nothing else is
# taken from the machine. What is built is the Containerfile beside this script, as it is shipped.
set -euo pipefail

place=$(realpath -m "${1:?usage: try.sh DIRECTORY}")
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
port=${PORT:-18600}
[ ! -e "$place" ] || { echo "there is something at $place already" >&2; exit 2; }
mkdir -p "$place/srv"
chown 10001:10001 "$place/srv"
engine=(buildah --root "$place/store" --runroot "$place/run" --storage-driver vfs)

mmdebstrap --quiet --mode=root --variant=minbase --include=ca-certificates,python-is-python3,python3-venv \
    bookworm "$place/base.tar"
base=$("${engine[@]}" from scratch)
"${engine[@]}" add --quiet "$base" "$place/base.tar" / >/dev/null
"${engine[@]}" copy --quiet "$base" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ >/dev/null
"${engine[@]}" commit --quiet --rm "$base" loadlock-base

"${engine[@]}" bud --format docker --isolation chroot --network host --pull=false --build-arg BASE=localhost/loadlock-base \
    --file "$here/Containerfile" --ignorefile "$here/Containerfile.ignore" --tag loadlock "$top"

made=$("${engine[@]}" from --pull=false localhost/loadlock)
inside() {
    "${engine[@]}" run --isolation chroot --user 10001:10001 --volume "$place/srv:/srv/loadlock" "$made" -- "$@"
}
inside /opt/loadlock/bin/loadlock init /srv/loadlock/acme --profile demo
# It ends by itself, as a container is ended: by SIGTERM, after which the server exits with 0.
inside timeout --preserve-status 20 /opt/loadlock/bin/loadlock serve --deployment /srv/loadlock/acme \
    --host 127.0.0.1 --port "$port" &
server=$!
ready=""
for _ in $(seq 100); do
    ready=$(curl --silent --fail "http://127.0.0.1:$port/readyz") && break
    kill -0 "$server"
    sleep 0.2
done
wait "$server"
echo "a server in the image answered: ${ready:?it never did}"
