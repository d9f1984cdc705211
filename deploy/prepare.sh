#!/bin/sh
# Makes what deploy/compose.yaml needs and what is not there yet: deploy/.env, with a random value for every secret that
# is empty in it; deploy/secrets/admin.key, the first administrator's key; deploy/secrets/smtp_password, empty, for the
# password of the account that alerts are mailed from. Run it again whenever you like.
set -eu
cd "$(dirname "$0")"
umask 077

random() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

[ -f .env ] || cp compose.env .env
chmod 600 .env
for name in BROKER_PASSWORD STORE_ACCESS_KEY STORE_SECRET_KEY EVENT_TOKEN CALLBACK_SECRET QDRANT_API_KEY GRAFANA_PASSWORD FLOWER_PASSWORD; do
  if ! grep -q "^$name=." .env; then
    sed "/^$name=/d" .env > .env.new
    echo "$name=$(random)" >> .env.new
    mv .env.new .env
  fi
done

# The folder is closed to other people; the files are not, as the users of the containers have to read them.
mkdir -p secrets
if [ ! -s secrets/admin.key ]; then
  random > secrets/admin.key
  chmod 444 secrets/admin.key
fi
[ -e secrets/smtp_password ] || : > secrets/smtp_password
chmod 644 secrets/smtp_password
echo "Ready: docker compose -f deploy/compose.yaml up -d --build"
echo "The administrator's key, for the dashboard and TUNDISH_API_KEY, is in $(pwd)/secrets/admin.key."
[ -s secrets/smtp_password ] || echo "Alerts are mailed once the mail account's password is in $(pwd)/secrets/smtp_password, and your addresses in $(pwd)/alertmanager/alertmanager.yml."
