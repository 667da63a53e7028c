#!/bin/sh
# Mutants of `domain` and the settlement code (row 22): which changes to the source does no test notice?
#
#     tests/torture/mutants.sh [domain | settlement | writer | FILE …]
#
# The floors below the relay are a crate of their own for this: it builds in seconds where the whole takes
# a minute. Needs cargo-mutants (cargo install cargo-mutants). The result is in target/torture/mutants/.
set -eu
cd "$(dirname "$0")/../.."
crate=target/torture/mutants
what=${1:-all}
rm -rf "$crate/src" "$crate/tests"
mkdir -p "$crate/src" "$crate/tests"
cp -r src/domain src/dialect src/store "$crate/src/"
# The store's rows say what they look like in the API's document, with the schemas of the domain's types.
cp src/http/shared/types.rs "$crate/src/types.rs"
cp -r tests/fixtures "$crate/tests/"
cp tests/model.rs "$crate/tests/stories.rs"
cp schema.sql Cargo.lock clippy.toml "$crate/"
# The floors alone: no binary, a test of its own, no workspace above.
sed -e '/^\[\[bin\]\]/,/^$/d' -e 's|^path = "tests/main.rs"|path = "tests/stories.rs"|' Cargo.toml >"$crate/Cargo.toml"
printf '\n[workspace]\n' >>"$crate/Cargo.toml"
printf '//! The floors below the relay, for mutants.\n\npub mod domain;\npub mod dialect;\npub mod store;\npub mod types;\n' >"$crate/src/lib.rs"
domain='src/domain/*.rs src/domain/json/*.rs src/dialect/request/*.rs'
settlement='src/store/tables/usage.rs src/store/tables/ledger.rs src/store/tables/idempotency.rs src/store/tables/accounts.rs'
writer='src/store/sqlite/writer.rs src/store/sqlite/writer/thread.rs'
case $what in
  domain) chosen=$domain ;;
  settlement) chosen=$settlement ;;
  writer) chosen=$writer ;;
  all) chosen="$domain $settlement $writer" ;;
  *) chosen=$* ;;
esac
set -f
files=
for file in $chosen; do files="$files -f $file"; done
cd "$crate"
# shellcheck disable=SC2086
exec cargo mutants --in-place --timeout 40 --no-shuffle $files
