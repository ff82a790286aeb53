# What the scripts share. Sourced by them.

# Installs the Debian packages named, if they are not all there; where we may not, says which are missing and fails.
need_packages() {
	if dpkg-query -W -f '${db:Status-Status}\n' "$@" 2>/dev/null | grep -vqx installed || ! dpkg-query -W "$@" >/dev/null 2>&1; then
		if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
			echo "$0: these Debian packages are needed: $*" >&2
			return 1
		fi
		if ! { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@"; } \
			>/tmp/pf-apt.$$ 2>&1; then
			cat /tmp/pf-apt.$$ >&2
			rm -f /tmp/pf-apt.$$
			echo "$0: apt-get could not install: $*" >&2
			return 1
		fi
		rm -f /tmp/pf-apt.$$
	fi
}

# Whether this machine lets us make network namespaces and TUN devices, which the network tests and the demo need.
can_make_networks() {
	[ "$(id -u)" = 0 ] && [ -c /dev/net/tun ] && command -v ip >/dev/null && ip netns add "pf-probe-$$" 2>/dev/null &&
		ip netns del "pf-probe-$$"
}
