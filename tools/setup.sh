# shellcheck shell=bash disable=SC2034
# Sourced by the tools that are shell scripts: finds the checkout, installs packages,
# builds. What fails here ends the script with a message, whoever calls it: every
# step says so itself, because -e does not reach into a function whose status is
# looked at.

# Nor, without this, into $(...).
shopt -s inherit_errexit

PROGRAM="tools/$(basename -- "$0")"
ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

# What building the library needs.
BUILD_PACKAGES=(bazel-bootstrap g++ binutils libabsl-dev)
# What tools/policy needs beyond that.
POLICY_PACKAGES=(nlohmann-json3-dev)
# What the tests need beyond that.
TEST_PACKAGES=(googletest python3 valgrind "${POLICY_PACKAGES[@]}")
# What the tests outside of Bazel need beyond that.
OUTSIDE_PACKAGES=(cmake make pkg-config)
# What the clang and sanitizer passes need beyond that.
CLANG_PACKAGES=(clang-19 lld-19 llvm-19 libclang-rt-19-dev)

# What ensure_built needs; the scripts set it.
needed_packages=()

say() {
  printf '%s: %s\n' "$PROGRAM" "$*" >&2
}

die() {
  local status=$1
  shift
  say "$@"
  exit "$status"
}

# The version, as hardened/hardened.h has it.
version() {
  local found
  found=$(sed -n 's/^#define HARDENED_VERSION "\(.*\)"$/\1/p' "$ROOT/hardened/hardened.h")
  [[ -n $found ]] || die 1 "no version in $ROOT/hardened/hardened.h"
  printf '%s\n' "$found"
}

# What --version prints.
show_version() {
  local number
  number=$(version) || exit 1
  printf '%s (hardened) %s\n' "$PROGRAM" "$number"
}

# Installs those of the named packages that are missing.
ensure_packages() {
  local package missing=() as_root=()
  for package in "$@"; do
    # Any Bazel will do: newer ones read MODULE.bazel.
    if [[ $package == bazel-bootstrap ]] && type -P bazel >/dev/null; then
      continue
    fi
    if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
      missing+=("$package")
    fi
  done
  if [[ ${#missing[@]} -eq 0 ]]; then
    return 0
  fi
  if ! type -P apt-get >/dev/null; then
    die 1 "these Debian packages are needed and there is no apt-get: ${missing[*]}"
  fi
  if [[ $EUID -ne 0 ]]; then
    as_root=(sudo)
    [[ -t 0 ]] || as_root+=(-n)
    if ! type -P sudo >/dev/null || ! "${as_root[@]}" true >&2; then
      die 1 "these packages are missing; install them as root:" \
        "apt-get install -y ${missing[*]}"
    fi
  fi
  say "installing ${missing[*]}"
  {
    # Package lists may be absent or old: update them once when that helps.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" \
      2>/dev/null ||
      { "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
          "${missing[@]}"; }
  } </dev/null >&2 || die 1 "installing failed; try as root: apt-get update &&" \
    "apt-get install -y ${missing[*]}"
}

# Prints a folder of this checkout's own, without a space or colon in its path.
private_dir() {
  local base name
  name=$(printf '%s' "$ROOT" | cksum | tr ' ' -)
  # Owned by this user, or another could put a library of theirs there.
  for base in "${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}" "/tmp/hardened-$EUID"; do
    if [[ $base != *[[:space:]:]* ]] && (umask 077 && mkdir -p -- "$base/hardened/$name") 2>/dev/null &&
      [[ -O $base && -O $base/hardened/$name && -w $base/hardened/$name ]]; then
      printf '%s\n' "$base/hardened/$name"
      return 0
    fi
  done
  die 1 "no folder to work in: set HOME or XDG_CACHE_HOME to one without spaces"
}

# Prints the folder to run Bazel in: the checkout, or a copy of it where the
# path has a space, which Bazel refuses.
bazel_workspace() {
  local copy
  if [[ $ROOT != *[[:space:]]* ]]; then
    printf '%s\n' "$ROOT"
    return 0
  fi
  copy=$(private_dir) || exit 1
  copy+=/checkout
  rm -rf -- "$copy"
  mkdir -p -- "$copy" || die 1 "cannot make the folder $copy"
  (cd -- "$ROOT" && tar -c --exclude=./.git --exclude=./.out --exclude='./bazel-*' .) |
    tar -x -C "$copy" || die 1 "copying the checkout to $copy failed"
  printf '%s\n' "$copy"
}

# run_bazel COMMAND [ARG...]. Bazel takes the ~ of .bazelrc from the password
# file; the cache goes below HOME even where the two differ.
run_bazel() {
  local command=$1
  shift
  bazel "$command" ${HOME:+"--disk_cache=$HOME/.cache/hardened-bazel"} "$@" </dev/null
}

# Builds the Bazel targets, optimized, and prints the folder that bazel-bin is.
build_targets() {
  local workspace bin
  # Neither apt-get nor Bazel is to run under a preloaded library.
  unset LD_PRELOAD
  workspace=$(bazel_workspace) || exit 1
  cd -- "$workspace" || exit 1
  run_bazel build -c opt --noshow_progress --ui_event_filters=-info,-stdout --show_result=0 \
    "$@" >&2 || die 1 "building failed: bazel build -c opt $*"
  bin=$(run_bazel info -c opt --ui_event_filters=-info --noshow_progress bazel-bin) ||
    die 1 "bazel info failed"
  printf '%s\n' "$bin"
}

# Prints a checksum of the names and contents of the files below the named paths
# of the checkout and of what builds them.
source_stamp() {
  local user_rc=()
  [[ ! -e $ROOT/.bazelrc.user ]] || user_rc=(.bazelrc.user)
  (cd -- "$ROOT" && find "$@" tools/bazel tools/setup.sh BUILD.bazel WORKSPACE MODULE.bazel \
    .bazelrc "${user_rc[@]}" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum -- |
    sha256sum) || die 1 "the sources in $ROOT cannot be read"
}

# Whether the file was built from the sources with that stamp.
is_current() {
  local file=$1 stamp=$2
  [[ -e $file && -r $file.stamp && $(<"$file.stamp") == "$stamp" ]]
}

# ensure_built FILE STAMP ARTIFACT TARGET...: unless FILE in $ROOT/.out is of the
# sources with that stamp, builds the targets and copies ARTIFACT, a path below
# bazel-bin, there. Installs what is missing of "${needed_packages[@]}".
ensure_built() {
  is_current "$1" "$2" || (build_file "$@")
}

build_file() {
  local file=$1 stamp=$2 artifact=$3 name bin temporary old=""
  shift 3
  name=$(basename -- "$file")
  [[ ! -e $file ]] || old=" (the one that is there is of other sources)"
  if ! mkdir -p -- "$ROOT/.out" 2>/dev/null || [[ ! -w $ROOT/.out ]]; then
    die 1 "$name has to be built$old, and $ROOT/.out cannot be written"
  fi
  unset LD_PRELOAD
  ensure_packages "${needed_packages[@]}"
  say "building $name"
  bin=$(build_targets "$@") || die 1 "there is no $name of these sources$old"
  temporary=$(mktemp -- "$file.XXXXXX") || die 1 "$ROOT/.out cannot be written"
  # shellcheck disable=SC2064 # now: it is local
  trap "rm -f -- $(printf %q "$temporary")" EXIT
  { cp -- "$bin/$artifact" "$temporary" && chmod 755 -- "$temporary" &&
    mv -f -- "$temporary" "$file"; } || die 1 "cannot copy $bin/$artifact to $file"
  { printf '%s\n' "$stamp" >"$temporary" && chmod 644 -- "$temporary" &&
    mv -f -- "$temporary" "$file.stamp"; } || die 1 "cannot write $file.stamp"
}
