#!/bin/sh
# Debian's packages for the image. Asks for: CLIENTS and SERVERS (majors of PostgreSQL), PGDG (yes or no).
set -eu
export DEBIAN_FRONTEND=noninteractive

install_packages() {
  apt-get install --yes --quiet --no-install-recommends "$@"
}

apt-get update --quiet
install_packages ca-certificates git openssh-client postgresql-common tini tzdata
# No server runs here but those of drills, which Chatkeep makes itself.
echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
if [ "$PGDG" = yes ]; then
  /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y
fi

packages=""
newest=""
for major in $CLIENTS; do
  if apt-cache show --quiet=0 "postgresql-client-$major" >/dev/null 2>&1; then
    packages="$packages postgresql-client-$major"
    newest=$major
  else
    echo "The package source has no client programs of PostgreSQL $major: those of a newer one are used."
    newest=""
  fi
done
if [ -z "$newest" ]; then
  echo "The newest major of CLIENTS ($CLIENTS) is not in the package source." >&2
  exit 1
fi
for major in $SERVERS; do
  packages="$packages postgresql-$major postgresql-$major-pgvector"
done
# shellcheck disable=SC2086 # one word a package
install_packages $packages

# What differs from build to build, and is of no use.
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/* /var/lib/postgresql
