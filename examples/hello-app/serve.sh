#!/bin/sh
# The first process of a container gets no signal that it has not asked for: so this one asks, and ends at once when told.
trap 'kill "$server"; exit 0' TERM INT
httpd -f -p 8080 -h /app/www &
server=$!
echo "hello-app listens on port 8080"
wait "$server"
