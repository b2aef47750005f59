-- Two systems with one set of people: what IPS knows of its users and what OMS, on top of it, lets them do. The tables
-- are theirs. What tells the gateway of changes is beside them: a table, a function and a trigger for each table.
CREATE TABLE ips_user (
    id bigint PRIMARY KEY,
    login text NOT NULL UNIQUE,
    home text NOT NULL,
    account uuid NOT NULL UNIQUE,
    enabled boolean NOT NULL DEFAULT true,
    is_user boolean NOT NULL,
    may_log_in boolean NOT NULL,
    is_editor boolean NOT NULL
);
CREATE TABLE ips_territory (
    user_id bigint NOT NULL REFERENCES ips_user ON DELETE CASCADE,
    territory text NOT NULL,
    PRIMARY KEY (user_id, territory)
);
CREATE TABLE oms_user (user_id bigint PRIMARY KEY REFERENCES ips_user ON DELETE CASCADE);
CREATE TABLE oms_permission (
    user_id bigint NOT NULL REFERENCES ips_user ON DELETE CASCADE,
    permission text NOT NULL,
    level text,
    place text      -- a node, such as command:USS-GA; everywhere without one
);

CREATE TABLE access_changed (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    login text
);
CREATE FUNCTION note_access() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'ips_user' THEN
        INSERT INTO access_changed (login)
            SELECT login FROM (VALUES (OLD.login), (NEW.login)) AS either(login) WHERE login IS NOT NULL;
    ELSE
        -- Of a user who is deleted with all that is his, the other branch tells.
        INSERT INTO access_changed (login) SELECT login FROM ips_user WHERE id IN (OLD.user_id, NEW.user_id);
    END IF;
    PERFORM pg_notify('access_changed', '');
    RETURN NULL;
END $$;
CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON ips_user FOR EACH ROW EXECUTE FUNCTION note_access();
CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON ips_territory FOR EACH ROW EXECUTE FUNCTION note_access();
CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON oms_user FOR EACH ROW EXECUTE FUNCTION note_access();
CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON oms_permission FOR EACH ROW EXECUTE FUNCTION note_access();

INSERT INTO ips_user VALUES
    (1, 'olga', 'uss', 'af2facf6-51e1-5546-8211-837b70c9cfec', true, true, false, true),
    (2, 'vera', 'uss', '4a5b641b-89bb-5e15-8aab-62c99228786a', true, true, false, true),
    (3, 'noel', 'uss', '3c59b23c-c1a2-545c-9652-ef346f1e3c98', true, true, false, false),
    (4, 'nils', 'uss', 'fa8d68aa-875f-5563-8631-955a7b1bb7f8', true, true, false, true),
    (5, 'rep', 'uss', '1e7fdf97-8c88-533e-9f33-3183dde3bbd9', true, true, false, true),
    (6, 'adam', 'uss', '6f761b2b-5480-552d-842f-94f3322daa94', true, true, false, true),
    (7, 'gabe', 'uss', '4f5b8993-b826-57e1-a3de-0ca396abcafb', true, true, false, true),
    (8, 'mona', 'uss', 'db564c4b-f1bd-51bd-9070-cbd68ca2cb9b', true, true, false, true),
    (9, 'tess', 'uss', '8518e879-7349-5cb8-a8b5-a16e5df6f819', true, true, false, true),
    (10, 'bare', 'uss', '78109887-b985-509f-a393-5832a7de1c66', true, true, false, true),
    (11, 'ivan', 'uss', '6ef17ce1-c0d7-5d60-878c-eb1b37632226', true, false, false, false),
    (12, 'kay', 'uss', '20603ab3-6a67-56ba-8443-656606b8351e', true, true, false, true),
    (13, 'kay2', 'uss', '3298c10e-0b6b-5473-ae4b-aefe7bb17fa5', true, true, false, true),
    (14, 'ina', 'uss', '7663bc91-445e-54c0-9199-313755f0703d', false, true, false, true),
    (15, 'ira', 'uss', '24480333-2493-516e-8eaa-c0d8af481089', true, true, true, true),
    (16, 'rita', 'uss', '944c091f-f806-5cfe-aeac-df312c707be9', true, true, true, false),
    (17, 'mara', 'uss', '2f99f1b2-cca0-52f2-b06b-9759b105802f', true, true, true, true),
    (18, 'zed', 'uss', '11504b17-c4ee-5ed4-af99-03d805acc25c', true, true, false, true),
    (19, 'lost', 'uss', '527f3075-8282-56f1-bd6b-46f1b947341b', true, true, true, true),
    (20, 'ghost', 'uss', '469c312b-8d40-5b73-8c18-8ab3f95f40a1', true, false, true, true),
    (21, 'ruth', 'uss', 'af384795-ea1f-51b8-bba9-31907315f60c', true, true, true, true),
    (22, 'cora', 'uss', 'b06bc876-efa2-560f-9950-1c1a8c7b2543', true, true, true, true),
    (23, 'dora', 'uss', '4629f2b0-b4ee-5682-9bc3-68cf614787d2', true, true, false, true);
INSERT INTO ips_territory VALUES
    (1, 'USS'),
    (2, 'USS'),
    (3, 'USS'),
    (4, 'USS'),
    (5, 'USS'),
    (6, 'USS'),
    (7, 'USS'),
    (8, 'USS'),
    (8, 'UKI'),
    (11, 'USS'),
    (12, 'USS'),
    (13, 'USS'),
    (14, 'USS'),
    (15, 'USS'),
    (16, 'USS'),
    (17, 'USS'),
    (18, 'USS'),
    (20, 'USS'),
    (21, 'USS'),
    (22, 'USS'),
    (23, 'USS');
INSERT INTO oms_user VALUES
    (1),
    (2),
    (3),
    (4),
    (5),
    (6),
    (7),
    (8),
    (9),
    (10),
    (11),
    (14),
    (21),
    (22),
    (23);
INSERT INTO oms_permission VALUES
    (1, 'oms.officer.personal_info', 'write', NULL),
    (1, 'oms.officer.appointments', 'write', NULL),
    (1, 'oms.reports.allowances', 'read', NULL),
    (2, 'oms.officer', 'read', NULL),
    (3, 'oms.officer', 'write', NULL),
    (5, 'oms.reports', 'read', NULL),
    (6, 'oms.settings', 'write', NULL),
    (7, 'oms.officer', 'write', 'command:USS-GA'),
    (8, 'oms.officer', 'write', NULL),
    (9, 'oms.officer', 'write', NULL),
    (10, 'oms', 'write', NULL),
    (11, 'oms.officer', 'write', NULL),
    (13, 'oms', 'write', NULL),
    (14, 'oms.officer', 'write', NULL),
    (17, 'ips.manage_access', NULL, 'territory:USS'),
    (18, 'ips.manage_access', NULL, 'territory:USS'),
    (21, 'oms.settings', 'read', NULL),
    (21, 'oms.officer.personal_info', 'read', 'command:USS-GA'),
    (21, 'ips.manage_access', 'read', 'territory:USS'),
    (22, 'oms.officer.personal_info', 'write', 'command:USS-GA'),
    (22, 'oms.reports', 'read', 'command:USS-GA'),
    (22, 'oms.settings', 'write', 'command:USS-GA'),
    (22, 'ips.manage_access', 'write', 'command:USS-GA'),
    (23, 'oms.officer.appointments', 'read', NULL);
