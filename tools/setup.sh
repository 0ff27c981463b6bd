# shellcheck shell=bash disable=SC2034
# Sourced by tools/run and tools/test: finds the checkout, installs packages,
# gives Bazel a folder it can work in.

PROGRAM="tools/$(basename -- "$0")"
ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

# What building the library needs.
BUILD_PACKAGES=(bazel-bootstrap g++ binutils libabsl-dev)
# What tools/policy needs beyond that.
POLICY_PACKAGES=(nlohmann-json3-dev)
# What the tests need beyond that.
TEST_PACKAGES=(googletest libbenchmark-dev python3 valgrind "${POLICY_PACKAGES[@]}")
# What the tests outside of Bazel need beyond that.
OUTSIDE_PACKAGES=(cmake make pkg-config)
# What the clang and sanitizer passes need beyond that.
CLANG_PACKAGES=(clang-19 lld-19 llvm-19 libclang-rt-19-dev)

say() {
  printf '%s: %s\n' "$PROGRAM" "$*" >&2
}

die() {
  local status=$1
  shift
  say "$@"
  exit "$status"
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
  copy=$(private_dir)/checkout
  rm -rf -- "$copy"
  mkdir -p -- "$copy"
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
