# shellcheck shell=bash
# Sourced by quickstart.sh, test.sh, test-programs.sh, test-hosts.sh and bench.sh: installs missing packages on Debian or Ubuntu, as root, from the
# machine's configured apt sources. Installed packages are not changed.

# The oldest runsc that has everything Boxer needs (systrap platform, --overlay2, --pass-fd), by the date in its version.
oldest_runsc=20230801

# A script that sources this file never fails silently.
report_faults() { trap 'printf "%s: line %s failed: %s\n" "${0##*/}" "$LINENO" "$BASH_COMMAND" >&2' ERR; }
report_faults

say() { printf '%s\n' "$*"; }

step() { printf '\n==> %s\n' "$*"; }

# die MESSAGE: prints one line and ends the script.
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

require_root() {
    [[ $(id -u) -eq 0 ]] || die "run this as root: it installs packages, and sandboxes with cgroup limits need it (sudo $0)."
}

require_apt() {
    if ! command -v apt-get >/dev/null; then
        die "this machine has no apt-get; install these by hand and run this again: $*"
    fi
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "$@"
}

# Runs its arguments, and shows their output only if they fail.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 || status=$?
    if [[ $status -ne 0 ]]; then
        tail -n 40 "$log" >&2
    fi
    rm -f "$log"
    return "$status"
}

# Returns true if apt's package lists are missing or older than a week.
package_lists_are_stale() {
    local lists
    lists=$(apt-config shell lists Dir::State::lists/d)
    eval "$lists"
    # shellcheck disable=SC2154 # set by the eval
    [[ -z $(find "$lists" -maxdepth 1 -name '*_Packages*' -mtime -7 -print -quit 2>/dev/null) ]]
}

update_package_lists() {
    say "Updating the package lists."
    quietly apt_get update || die "apt-get update failed; check the network and the sources in /etc/apt, then run this again."
}

refresh_package_lists() {
    if package_lists_are_stale; then
        update_package_lists
    fi
}

# Installs the missing ones of the named packages, in one call.
install_packages() {
    local package missing=()
    require_apt "$@"
    for package in "$@"; do
        if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
            missing+=("$package")
        fi
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    refresh_package_lists
    say "Installing ${missing[*]}."
    if ! quietly apt_get install --no-install-recommends "${missing[@]}"; then
        # Recent lists may also name files that the mirror has replaced.
        update_package_lists
        quietly apt_get install --no-install-recommends "${missing[@]}" ||
            die "apt-get could not install ${missing[*]}; the reason is above."
    fi
}

# cache_folder: prints the folder for files that are slow to build or to download.
cache_folder() { printf '%s' "${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/boxer"; }

# unpack_package PACKAGE FOLDER: downloads and unpacks a package without installing it. Does nothing if FOLDER exists.
unpack_package() {
    local package=$1 folder=$2 work
    [[ ! -d $folder ]] || return 0
    mkdir -p "$(dirname "$folder")"
    work=$(mktemp -d "$folder.XXXXXX")
    refresh_package_lists
    say "Fetching $package."
    if ! (cd "$work" && quietly apt-get -q -o APT::Sandbox::User=root -o Acquire::Retries=3 download "$package") ||
        ! dpkg-deb -x "$work"/*.deb "$work/files"; then
        rm -rf "$work"
        return 1
    fi
    mv "$work/files" "$folder"
    rm -rf "$work"
}

# Puts a registry server on PATH. Installing its package would start it as a service on every address.
ensure_docker_registry() {
    local folder
    folder=$(cache_folder)/docker-registry
    if ! command -v docker-registry >/dev/null; then
        require_apt docker-registry
        unpack_package docker-registry "$folder" || die "apt-get could not fetch docker-registry; the reason is above."
        PATH="$folder/usr/bin:$PATH"
    fi
}

# Puts afl-fuzz on PATH. Installing its package would add compilers, which take hundreds of megabytes and are not needed.
ensure_afl_fuzz() {
    local folder library
    folder=$(cache_folder)/afl++
    if ! command -v afl-fuzz >/dev/null; then
        require_apt afl++
        unpack_package afl++ "$folder" || die "apt-get could not fetch afl++; the reason is above."
        # afl-fuzz is linked with libpython. The number is that of the release's Python.
        library=$(apt-cache depends afl++ | grep -oE 'libpython3[0-9.]+' | head -n 1) || true
        [[ -z $library ]] || install_packages "$library"
        PATH="$folder/usr/bin:$PATH"
    fi
    afl-fuzz -h >/dev/null 2>&1 || [[ $? -eq 1 ]] || die "afl-fuzz does not run on this machine."
}

# Prints the date in a version: 20240729 for "runsc version release-20240729.0" and "0.0~20240729.0-4"; 0 if there is none.
runsc_date() {
    local date
    date=$(grep -oE -m 1 '20[0-9]{6}' <<<"$1" | head -n 1) || date=0
    printf '%s' "$date"
}

runsc_works() {
    local version
    version=$("$1" --version 2>/dev/null) && [[ $(runsc_date "$version") -ge $oldest_runsc ]]
}

# Prints the newest sufficient version of runsc in the configured sources; nothing if there is none.
available_runsc() {
    local version
    while read -r version; do
        if [[ $(runsc_date "$version") -ge $oldest_runsc ]]; then
            printf '%s' "$version"
            return
        fi
    done < <(apt-cache madison runsc 2>/dev/null | awk -F '|' '{ gsub(/ /, "", $2); print $2 }' | sort -rV)
}

# Prints the key file that an entry of apt's sources names; nothing if it names none. The entry is
# "file:number", as apt-get indextargets prints it: the number of a line in a .list file, or of a stanza in a .sources file.
key_of_source() {
    local file=${1%:*} number=${1##*:}
    if [[ $file == *.sources ]]; then
        # Only a key in a file: a key inside the stanza has several lines.
        awk -v RS= -v wanted="$number" 'NR == wanted' "$file" |
            sed -n 's/^[Ss]igned-[Bb]y:[[:space:]]*\(\/[^[:space:]]*\).*/\1/p'
    else
        sed -n "${number}s/.*signed-by=\([^] ]*\).*/\1/p" "$file"
    fi
}

release_codename() { sed -n 's/^VERSION_CODENAME=//p' /etc/os-release; }

backports_list=/etc/apt/sources.list.d/boxer-backports.list

# Writes a source for the backports suite of this release, with the URL and the key of the release itself.
add_backports() {
    local codename site entry key component list=$backports_list
    codename=$(release_codename)
    [[ -n $codename ]] || return 1
    # Uses the codename in the sources, or that in the archive's Release file if the sources say "stable".
    # shellcheck disable=SC2016 # the format is expanded by apt-get
    IFS='|' read -r site entry < <(
        for release in "Release: $codename" "Codename: $codename"; do
            apt-get indextargets --format '$(REPO_URI)|$(SOURCESENTRY)' "Created-By: Packages" "Component: main" "$release"
        done) || return 1
    key=$(key_of_source "$entry")
    # Debian has runsc in main, Ubuntu in universe.
    component=main
    ! grep -qx 'ID=ubuntu' /etc/os-release || component=universe
    printf 'deb %s%s %s-backports %s\n' "${key:+[signed-by=$key] }" "$site" "$codename" "$component" >"$list"
    say "Added ${codename}-backports, for runsc, in $list."
    if ! quietly apt_get update -o Dir::Etc::sourcelist="$list" -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0; then
        rm -f "$list"
        return 1
    fi
}

# Puts a sufficiently new runsc on PATH. RUNSC=path names one elsewhere.
ensure_runsc() {
    local version
    if [[ -n ${RUNSC:-} ]]; then
        local bin
        bin=$(cache_folder)/bin
        if ! RUNSC=$(realpath -e "$RUNSC" 2>/dev/null) || ! runsc_works "$RUNSC"; then
            die "RUNSC does not name a runsc of release-$oldest_runsc or newer that runs on this machine."
        fi
        mkdir -p "$bin"
        ln -sfn "$RUNSC" "$bin/runsc"
        PATH="$bin:$PATH"
        return
    fi
    if runsc_works runsc; then
        return
    fi
    require_apt "runsc (gVisor), release-$oldest_runsc or newer"
    refresh_package_lists
    version=$(available_runsc)
    if [[ -z $version ]] && add_backports; then
        version=$(available_runsc)
        if [[ -z $version ]]; then
            rm -f "$backports_list"
            say "It has no runsc that is new enough; removed $backports_list."
        fi
    fi
    if [[ -n $version ]]; then
        say "Installing runsc $version."
        quietly apt_get install --no-install-recommends "runsc=$version" ||
            die "apt-get could not install runsc $version; the reason is above."
    fi
    hash -r
    runsc_works runsc ||
        die "no runsc (gVisor) of release-$oldest_runsc or newer is on PATH or in the configured package sources; get one from gvisor.dev and run: RUNSC=/path/to/runsc $0"
}

# Installs the SDK that global.json requires. Runs in the checkout.
ensure_dotnet() {
    local folder
    if dotnet --version >/dev/null 2>&1; then
        return
    fi
    for folder in "${DOTNET_ROOT:-}" "${HOME:-/root}/.dotnet" /usr/share/dotnet /usr/lib/dotnet /usr/local/share/dotnet; do
        if [[ -n $folder && -x $folder/dotnet ]] && "$folder/dotnet" --version >/dev/null 2>&1; then
            export DOTNET_ROOT=$folder PATH="$folder:$PATH"
            return
        fi
    done
    if command -v apt-cache >/dev/null; then
        refresh_package_lists
        if [[ -n $(apt-cache madison dotnet-sdk-10.0 2>/dev/null) ]]; then
            install_packages dotnet-sdk-10.0
            hash -r
        fi
    fi
    dotnet --version >/dev/null 2>&1 ||
        die "the .NET 10 SDK is missing and the configured package sources have none; install it (https://dotnet.microsoft.com/download/dotnet/10.0) and put dotnet on PATH."
}
