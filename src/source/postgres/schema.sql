-- The schema `portcullis`: who holds what in one domain, and what has changed.
-- It may be applied again at any time: what is there already stays as it is.
BEGIN;

CREATE SCHEMA IF NOT EXISTS portcullis;

CREATE TABLE IF NOT EXISTS portcullis.version (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS portcullis.rights (
    name text PRIMARY KEY CHECK (name ~ '^[[:alnum:]._/-]+$')
);
-- A role is the rights that it has in role_rights; one that grants.yaml declares is handed over by its name instead.
CREATE TABLE IF NOT EXISTS portcullis.roles (
    name text PRIMARY KEY CHECK (name <> ''),
    in_document boolean NOT NULL DEFAULT false
);
-- What a group has, and where a node lies, is declared in grants.yaml: here stand their names.
CREATE TABLE IF NOT EXISTS portcullis.groups (
    name text PRIMARY KEY CHECK (name <> '')
);
CREATE TABLE IF NOT EXISTS portcullis.scopes (
    node text PRIMARY KEY CHECK (node <> '')
);

CREATE TABLE IF NOT EXISTS portcullis.role_rights (
    role text NOT NULL REFERENCES portcullis.roles ON UPDATE CASCADE ON DELETE CASCADE,
    "right" text NOT NULL REFERENCES portcullis.rights ON UPDATE CASCADE ON DELETE CASCADE,
    level text CHECK (level IN ('read', 'write', 'delete', 'deny')),
    PRIMARY KEY (role, "right")
);

CREATE TABLE IF NOT EXISTS portcullis.principals (
    id text PRIMARY KEY CHECK (id <> ''),
    tenant text NOT NULL CHECK (tenant <> ''),
    oid uuid,
    subject text CHECK (octet_length(subject) BETWEEN 1 AND 256),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive', 'deleted', 'reserved')),
    flags text[] NOT NULL DEFAULT '{}' CHECK (array_position(flags, NULL) IS NULL),
    boundary text[] CHECK (array_position(boundary, NULL) IS NULL),
    CHECK ((oid IS NULL) <> (subject IS NULL)),
    UNIQUE (tenant, oid),
    UNIQUE (tenant, subject)
);

CREATE TABLE IF NOT EXISTS portcullis.memberships (
    principal text NOT NULL REFERENCES portcullis.principals ON UPDATE CASCADE ON DELETE CASCADE,
    "group" text NOT NULL REFERENCES portcullis.groups ON UPDATE CASCADE ON DELETE CASCADE,
    PRIMARY KEY (principal, "group")
);
CREATE INDEX IF NOT EXISTS memberships_by_group ON portcullis.memberships ("group");

CREATE TABLE IF NOT EXISTS portcullis.grants (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    principal text NOT NULL REFERENCES portcullis.principals ON UPDATE CASCADE ON DELETE CASCADE,
    "right" text REFERENCES portcullis.rights ON UPDATE CASCADE ON DELETE CASCADE,
    level text CHECK (level IN ('read', 'write', 'delete', 'deny')),
    role text REFERENCES portcullis.roles ON UPDATE CASCADE ON DELETE CASCADE,
    node text REFERENCES portcullis.scopes ON UPDATE CASCADE ON DELETE CASCADE,
    CHECK (("right" IS NULL) <> (role IS NULL)),
    CHECK (level IS NULL OR "right" IS NOT NULL)
);
CREATE INDEX IF NOT EXISTS grants_by_principal ON portcullis.grants (principal);
CREATE INDEX IF NOT EXISTS grants_by_role ON portcullis.grants (role) WHERE role IS NOT NULL;
CREATE INDEX IF NOT EXISTS grants_by_right ON portcullis.grants ("right") WHERE "right" IS NOT NULL;
CREATE INDEX IF NOT EXISTS grants_by_node ON portcullis.grants (node) WHERE node IS NOT NULL;

-- Objects that the backends have, for those that are looked up when a request needs them: texts, whole numbers, truths and
-- lists of them by name. Nothing tells of their changes.
CREATE TABLE IF NOT EXISTS portcullis.objects (
    kind text NOT NULL CHECK (kind <> '' AND position(':' IN kind) = 0),
    key text NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 256),
    attributes jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(attributes) = 'object'),
    PRIMARY KEY (kind, key)
);

-- Whose row may read otherwise since which transaction: a principal's, those of all who have a role, or, where neither
-- is named, everybody's. The transaction tells, and not the number: numbers are drawn before a transaction commits, and
-- so a lower one may appear behind a higher one. Who has a role is looked up by whoever reads this, for until then
-- another transaction may give it to somebody.
CREATE TABLE IF NOT EXISTS portcullis.changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    principal text,
    role text
);
ALTER TABLE portcullis.changes ADD COLUMN IF NOT EXISTS at timestamptz NOT NULL DEFAULT now();
CREATE INDEX IF NOT EXISTS changes_by_transaction ON portcullis.changes (transaction);

-- The newest transaction of which a change has been pruned; one row, or none. Whoever may not have seen all that were
-- pruned by then reads everything.
CREATE TABLE IF NOT EXISTS portcullis.pruned (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    transaction xid8 NOT NULL
);

-- Takes out the changes that are older than `keep`; returns how many.
CREATE OR REPLACE FUNCTION portcullis.prune(keep interval) RETURNS bigint LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    newest xid8;
    gone bigint;
BEGIN
    IF keep IS NULL OR keep < interval '0' THEN
        RAISE EXCEPTION 'how long changes are kept must not be negative';
    END IF;
    WITH old AS (DELETE FROM portcullis.changes WHERE at < now() - keep RETURNING transaction)
    SELECT count(*), (array_agg(transaction ORDER BY transaction DESC))[1] INTO gone, newest FROM old;
    IF newest IS NOT NULL THEN
        INSERT INTO portcullis.pruned AS p (transaction) VALUES (newest)
        ON CONFLICT (one) DO UPDATE SET transaction = greatest(p.transaction, excluded.transaction);
    END IF;
    RETURN gone;
END $$;
REVOKE ALL ON FUNCTION portcullis.prune(interval) FROM PUBLIC;

CREATE OR REPLACE FUNCTION portcullis.note_principals() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        INSERT INTO portcullis.changes (principal) SELECT id FROM before;
    END IF;
    IF TG_OP IN ('UPDATE', 'INSERT') THEN
        INSERT INTO portcullis.changes (principal) SELECT id FROM after;
    END IF;
    PERFORM pg_notify('portcullis', '');
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION portcullis.note_of_principals() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        INSERT INTO portcullis.changes (principal) SELECT DISTINCT principal FROM before;
    END IF;
    IF TG_OP IN ('UPDATE', 'INSERT') THEN
        INSERT INTO portcullis.changes (principal) SELECT DISTINCT principal FROM after;
    END IF;
    PERFORM pg_notify('portcullis', '');
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION portcullis.note_roles() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        INSERT INTO portcullis.changes (role) SELECT DISTINCT role FROM before;
    END IF;
    IF TG_OP IN ('UPDATE', 'INSERT') THEN
        INSERT INTO portcullis.changes (role) SELECT DISTINCT role FROM after;
    END IF;
    PERFORM pg_notify('portcullis', '');
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION portcullis.note_all() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO portcullis.changes (principal) VALUES (NULL);
    PERFORM pg_notify('portcullis', '');
    RETURN NULL;
END $$;

DO $$
DECLARE
    noted record;
BEGIN
    FOR noted IN SELECT * FROM (VALUES
        ('principals', 'note_principals'),
        ('memberships', 'note_of_principals'),
        ('grants', 'note_of_principals'),
        ('role_rights', 'note_roles')) AS t(name, does)
    LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER inserted AFTER INSERT ON portcullis.%I REFERENCING NEW TABLE AS after '
            'FOR EACH STATEMENT EXECUTE FUNCTION portcullis.%I()', noted.name, noted.does);
        EXECUTE format('CREATE OR REPLACE TRIGGER updated AFTER UPDATE ON portcullis.%I REFERENCING OLD TABLE AS before '
            'NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION portcullis.%I()', noted.name, noted.does);
        EXECUTE format('CREATE OR REPLACE TRIGGER deleted AFTER DELETE ON portcullis.%I REFERENCING OLD TABLE AS before '
            'FOR EACH STATEMENT EXECUTE FUNCTION portcullis.%I()', noted.name, noted.does);
        EXECUTE format('CREATE OR REPLACE TRIGGER emptied AFTER TRUNCATE ON portcullis.%I '
            'FOR EACH STATEMENT EXECUTE FUNCTION portcullis.note_all()', noted.name);
    END LOOP;
    CREATE OR REPLACE TRIGGER updated AFTER UPDATE ON portcullis.roles
        FOR EACH STATEMENT EXECUTE FUNCTION portcullis.note_all();
END $$;

INSERT INTO portcullis.version (version) VALUES (1) ON CONFLICT DO NOTHING;

COMMIT;
