#!/bin/sh
# Makes a user with service role metrics_viewer for Prometheus, once, and leaves its token in a
# volume that only Prometheus mounts. The admin's token never leaves the broker's volume; it goes
# to curl through standard input, so it is in no argument list.
set -eu
token=/scrape/token
[ -s "$token" ] && exit 0
user="prometheus-$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')"
printf 'x-api-key: %s\n' "$(cat /data/admin.token)" |
    curl --silent --show-error --fail --retry 30 --retry-delay 1 --retry-connrefused \
        --cacert /data/tls/ca.pem --header @- --output /tmp/user.json \
        --data '{"service_roles": ["metrics_viewer"]}' \
        "https://broker:8443/v1/users/$user"
sed -n 's/^ *"token": *"\([^"]*\)".*/\1/p' /tmp/user.json | tr -d '\n' > "$token.new"
rm /tmp/user.json
[ -s "$token.new" ]
chmod 444 "$token.new"
mv "$token.new" "$token"
