# shellcheck shell=bash
# Sourced after install.sh by the scripts that build images of this machine's own release of Debian or Ubuntu.

# release_sources FILE: writes the release itself with its updates and security fixes to FILE, from where this machine has them,
# without backports and third parties.
release_sources() {
    local origin suite site component entry key
    # shellcheck disable=SC2016 # the format is expanded by apt-get
    apt-get indextargets --format '$(ORIGIN)|$(RELEASE)|$(REPO_URI)|$(COMPONENT)|$(SOURCESENTRY)' "Created-By: Packages" |
        while IFS='|' read -r origin suite site component entry; do
            case "$origin $suite" in
                *backports* | *proposed*) ;;
                "Debian "* | "Ubuntu "*)
                    key=$(key_of_source "$entry")
                    printf 'deb %s%s %s %s\n' "${key:+[signed-by=$key] }" "$site" "$suite" "$component"
                    ;;
            esac
        done | sort -u >"$1"
    [[ -s $1 ]] || die "apt has no Debian or Ubuntu sources of this release; see /etc/apt/sources.list.d."
}

# apt_transport FILE: writes to FILE how this machine reaches its sources: proxies, and checks of dates that a frozen mirror needs turned off.
apt_transport() { apt-config dump | grep -E '^Acquire::(Check-|Retries|https?::)' >"$1" || true; }

# The time of the package lists, or now. No file of an image is newer, so that the same packages give the same layers. Not older either:
# compiled Python files name the time of their source.
source_date() {
    local epoch
    epoch=$(find /var/lib/apt/lists -maxdepth 1 -name '*InRelease' -exec sed -n 's/^Date: //p' {} + |
        while read -r date; do date -d "$date" +%s; done | sort -n | tail -n 1)
    printf '%s' "${epoch:-$(date +%s)}"
}

# finish_image LAYOUT RECIPE OUT_DIR: configures the image "latest" of LAYOUT, notes what it was made from, and moves LAYOUT to OUT_DIR.
finish_image() {
    local layout=$1 recipe=$2 out=$3
    umoci config --image "$layout:latest" --clear=config.env --clear=config.entrypoint \
        --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --config.env LANG=C.UTF-8 \
        --config.workingdir / --config.cmd python3
    umoci gc --layout "$layout"
    printf '%s\n' "$recipe" >"$layout/boxer-recipe"
    rm -rf --one-file-system "$out"
    mv "$layout" "$out"
    say "Built $out ($(du -sh "$out" | cut -f 1))."
}
