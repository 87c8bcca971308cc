#!/usr/bin/env bash
# Takes what the pages need from npm, pinned and checked by package-lock.json, and bundles it into files that lie in the
# distribution. Only `make vendor` runs this: nobody who installs the dashboard needs Node.js.
set -euo pipefail
cd "$(dirname "$0")"
out=../src/bumpless/dashboard/static/vendor
axe=../../../tests/fixtures/axe
npm ci --no-progress
mkdir -p "$out" "$axe"
node_modules/.bin/esbuild ui.js --bundle --format=esm --minify --target=es2022 --legal-comments=none --outfile="$out/ui.js"
cp node_modules/uplot/dist/uPlot.min.css "$out/uplot.css"
for package in preact htm uplot; do
  version=$(node -p "require('./node_modules/$package/package.json').version")
  printf '%s %s\n\n' "$package" "$version"
  cat "node_modules/$package/LICENSE"
  printf '\n\n'
done > "$out/LICENSES.txt"
cp node_modules/axe-core/axe.min.js node_modules/axe-core/LICENSE "$axe/"
