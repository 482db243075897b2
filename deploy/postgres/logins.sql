-- The roles and logins of docs/how-to/postgresql.md. A superuser runs this file once, in the new and empty database:
--   export OWNER_PASSWORD=… SHOP_PASSWORD=…
--   psql --dbname=shop --file=deploy/postgres/logins.sql
\set ON_ERROR_STOP on
\getenv owner_password OWNER_PASSWORD
\getenv shop_password SHOP_PASSWORD

-- All databases of a server share its roles, so another database may have made them.
SELECT format('CREATE ROLE %I NOLOGIN', name)
FROM unnest(ARRAY['fairlane_app', 'fairlane_tenant', 'fairlane_admin', 'fairlane_operator', 'fairlane_worker']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

CREATE ROLE shop_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE shop LOGIN NOINHERIT PASSWORD :'shop_password';
GRANT fairlane_app, fairlane_tenant, fairlane_admin, fairlane_operator, fairlane_worker TO shop_owner, shop;
ALTER DATABASE :"DBNAME" OWNER TO shop_owner;
