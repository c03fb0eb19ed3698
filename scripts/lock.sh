#!/bin/sh
# Refresh requirements/*.txt from pyproject.toml: exact versions with hashes, no addresses.
# Usage: scripts/lock.sh UV [options of `uv pip compile`, such as --upgrade or --upgrade-package ray]
set -eu
uv=$1
shift
cd "$(dirname "$0")/.."
# A folder of wheels that only this machine has must not end up in a lock.
unset UV_FIND_LINKS PIP_FIND_LINKS

compile() {
    out=requirements/$1
    shift
    echo "lock   $out"
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
        --overrides requirements/overrides.txt --output-file "$out" "$@" >/dev/null
}

compile cpu.txt pyproject.toml requirements/cpu.in --extra cpu --overrides requirements/cpu-overrides.txt "$@"
compile gpu.txt pyproject.toml --extra gpu "$@"
compile dev.txt --group dev --constraints requirements/cpu.txt "$@"
compile s3.txt requirements/s3.in "$@"
compile uv.txt requirements/uv.in "$@"
compile ansible.txt requirements/ansible.in "$@"
compile chat.txt requirements/chat.in "$@"
compile caddy.txt requirements/caddy.in "$@"
