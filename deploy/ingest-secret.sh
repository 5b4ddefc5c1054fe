#!/bin/sh
# Makes the secret that broker and metrics-svc share, once. No newline in the file.
set -eu
secret=/secrets/ingest.secret
[ -s "$secret" ] && exit 0
umask 077
od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$secret.new"
mv "$secret.new" "$secret"
