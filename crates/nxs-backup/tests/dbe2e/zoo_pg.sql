-- One of everything that a database of today can hold.
CREATE EXTENSION pgcrypto;
CREATE SCHEMA "odd ""schema""";
CREATE TYPE mood AS ENUM ('sad', 'größe 🙂');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN plz AS text CHECK (VALUE ~ '^[0-9]{5}$');
CREATE COLLATION german (provider = icu, locale = 'de-DE');
CREATE TABLE customer (
    id serial PRIMARY KEY, name text COLLATE german NOT NULL, code plz, feels mood, both_ pair, tags text[], doc jsonb, what xml,
    who uuid, host inet, span tstzrange, place point, ratio float8, small real, worth numeric(20, 6) CHECK (worth > -1000),
    lower_ text GENERATED ALWAYS AS (lower(name)) STORED, words tsvector GENERATED ALWAYS AS (to_tsvector('german'::regconfig, name)) STORED,
    at timestamptz DEFAULT '2026-01-02 03:04:05.678901+00', boss int REFERENCES customer ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED);
INSERT INTO customer (name, code, feels, both_, tags, doc, what, who, host, span, place, ratio, small, worth, boss)
    SELECT 'Kunde ' || n || E'\t\\ 🙂''"\n', lpad(n::text, 5, '0'), 'größe 🙂', ROW(n, NULL::text)::pair, ARRAY['a', NULL, 'ü,"{}'], jsonb_build_object('ü', n), '<a>🙂</a>',
    md5(n::text)::uuid, '2001:db8::1', tstzrange('2026-01-01', NULL), point(n, -n), n / 3e-300, n / 3.0, n / 7.0, nullif(n / 10, 0) FROM generate_series(1, 20000) n;
CREATE INDEX ON customer USING gin (words);
CREATE INDEX "größe idx" ON customer (lower(name) DESC) INCLUDE (code) WHERE worth > 5;
ALTER TABLE customer ADD EXCLUDE USING gist (place WITH ~=);
CREATE STATISTICS seen (dependencies) ON code, worth FROM customer;
CREATE TABLE item (
    id int GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 3) PRIMARY KEY, owner int NOT NULL REFERENCES customer ON DELETE CASCADE,
    price int NOT NULL, gross int GENERATED ALWAYS AS (price * 119 / 100) STORED, UNIQUE NULLS NOT DISTINCT (owner, price));
INSERT INTO item (owner, price) SELECT n % 20000 + 1, n FROM generate_series(1, 30000) n;
CREATE TABLE log (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE log_2025 PARTITION OF log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY LIST (what);
CREATE TABLE log_2025_x PARTITION OF log_2025 FOR VALUES IN ('x', NULL);
CREATE TABLE log_2025_rest PARTITION OF log_2025 DEFAULT;
CREATE TABLE "log größe" PARTITION OF log DEFAULT;
INSERT INTO log SELECT DATE '2025-06-01' + n, CASE n % 3 WHEN 0 THEN 'x' WHEN 1 THEN NULL ELSE 'tag ' || n END FROM generate_series(1, 400) n;
CREATE TABLE parts (n int PRIMARY KEY, m int) PARTITION BY HASH (n);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parts SELECT n, n * 3 FROM generate_series(1, 1000) n;
CREATE TABLE elder (id int, what text); CREATE TABLE heir (more text) INHERITS (elder);
INSERT INTO elder VALUES (1, 'a'); INSERT INTO heir VALUES (2, 'b', 'c');
CREATE TABLE bytes (id int PRIMARY KEY, raw bytea);
ALTER TABLE bytes ALTER raw SET STORAGE EXTERNAL;
INSERT INTO bytes VALUES (-1, '\x000a0d1a275c22ff'), (-2, NULL), (-3, ''), (-4, decode(repeat('00', 3000000), 'hex'));
SELECT lo_from_bytea(4711, decode(repeat('00ff10', 500000), 'hex'));
CREATE VIEW cheap AS SELECT id, price FROM item WHERE price < 100 WITH CASCADED CHECK OPTION;
CREATE RECURSIVE VIEW bosses (id, depth) AS SELECT id, 0 FROM customer WHERE boss IS NULL UNION ALL SELECT c.id, depth + 1 FROM customer c JOIN bosses b ON c.boss = b.id;
CREATE MATERIALIZED VIEW sums AS SELECT owner, sum(price) AS sum FROM item GROUP BY owner;
CREATE UNIQUE INDEX ON sums (owner);
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO log VALUES ('2026-05-05', TG_OP || $q$ '; -- 🙂 $q$); RETURN NULL; END $f$;
CREATE TRIGGER noted AFTER DELETE ON item REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION noted();
CREATE FUNCTION rising(n int, OUT up int, VARIADIC more int[] DEFAULT '{}') LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE BEGIN ATOMIC SELECT n + 1; END;
CREATE PROCEDURE "busy ü"(INOUT n int) LANGUAGE plpgsql AS $$ BEGIN COMMIT; n := n + 1; END $$;
CREATE AGGREGATE product (int) (SFUNC = int4mul, STYPE = int, INITCOND = '1');
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq, COMMUTATOR = ===);
CREATE RULE quiet AS ON DELETE TO elder DO INSTEAD NOTHING;
CREATE SEQUENCE numbers AS smallint START 1000 INCREMENT 7 CYCLE MAXVALUE 2000;
SELECT nextval('numbers'), nextval('numbers');
CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER watched ON ddl_command_end WHEN TAG IN ('CREATE SERVER') EXECUTE FUNCTION watch();
CREATE TABLE "odd ""schema"""."-t 'able;" ("col ""umn" text);
INSERT INTO "odd ""schema"""."-t 'able;" VALUES (E'\\.'), ('\N'), (NULL), (''), ('-- PostgreSQL database dump complete');
CREATE PUBLICATION everything FOR ALL TABLES;
ALTER TABLE item ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON item FOR SELECT TO reader USING (owner < 100);
GRANT SELECT (id, price), UPDATE (price) ON item TO writer WITH GRANT OPTION;
GRANT USAGE ON SCHEMA "odd ""schema""" TO reader;
ALTER DEFAULT PRIVILEGES FOR ROLE boss IN SCHEMA public GRANT SELECT ON TABLES TO reader;
ALTER TABLE log OWNER TO boss;
COMMENT ON TABLE item IS 'it''s a ; comment 🙂';
DELETE FROM item WHERE id = 100;
REFRESH MATERIALIZED VIEW sums;
