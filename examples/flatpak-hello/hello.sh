#!/bin/sh
echo "$(cat /app/share/hello/greeting), ${1:-world}"
