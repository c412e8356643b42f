/** What stands in PostgreSQL besides the projections' own tables. Every statement may be repeated. */

/** Advisory locks: `schema` while it is made, `builds` while builds come, go and are switched. */
export const LOCKS = { schema: 7_316_001, builds: 7_316_002 } as const;

export const SCHEMA: ReadonlyArray<string> = [
  "CREATE SCHEMA IF NOT EXISTS millrace",
  "CREATE SCHEMA IF NOT EXISTS projection",
  "CREATE SCHEMA IF NOT EXISTS v",
  `CREATE TABLE IF NOT EXISTS millrace.projection (
     name text NOT NULL,
     context text NOT NULL,
     build integer NOT NULL,
     version integer NOT NULL,
     state_version integer NOT NULL,
     state text NOT NULL DEFAULT 'building' CHECK (state IN ('building', 'active', 'stopped', 'retired')),
     shown boolean NOT NULL DEFAULT false,
     seq bigint NOT NULL DEFAULT 0,
     head_seen bigint NOT NULL DEFAULT 0,
     stopped_reason text,
     table_name text NOT NULL,
     shape jsonb NOT NULL,
     epoch bigint NOT NULL DEFAULT 0,
     owner text,
     owner_until timestamptz NOT NULL DEFAULT '-infinity',
     beat_at timestamptz NOT NULL DEFAULT now(),
     created_at timestamptz NOT NULL DEFAULT now(),
     updated_at timestamptz NOT NULL DEFAULT now(),
     PRIMARY KEY (name, context, build)
   ) WITH (fillfactor = 50)`,
  // Looked at first: to add it takes a lock that those who work would wait for.
  `DO $$ BEGIN
     IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'millrace.projection'::regclass AND attname = 'mark') THEN
       ALTER TABLE millrace.projection ADD COLUMN mark text;
     END IF;
   END $$`,
  "CREATE UNIQUE INDEX IF NOT EXISTS projection_shown ON millrace.projection (name, context) WHERE shown",
  `CREATE UNIQUE INDEX IF NOT EXISTS projection_building ON millrace.projection (name, context)
     WHERE NOT shown AND state <> 'retired'`,
  `CREATE TABLE IF NOT EXISTS millrace.parked (
     name text NOT NULL,
     context text NOT NULL,
     build integer NOT NULL,
     kind text NOT NULL,
     aggregate text NOT NULL,
     organisation text NOT NULL,
     seq bigint NOT NULL,
     cause text NOT NULL,
     skipped bigint NOT NULL DEFAULT 0,
     last_seq bigint NOT NULL,
     dropped_by text,
     dropped_why text,
     PRIMARY KEY (name, context, build, kind, aggregate)
   )`,
  // What is typed, as websearch syntax: words are parted as in the documents (see SEARCH_DOCUMENT), and the last one also matches
  // as the beginning of a longer one.
  `CREATE OR REPLACE FUNCTION millrace.search_query(typed text) RETURNS tsquery
     LANGUAGE sql STABLE PARALLEL SAFE AS $$
       SELECT CASE WHEN q::text ~ '''$' AND typed !~ '[[:space:]"]$' THEN (q::text || ':*')::tsquery ELSE q END
       FROM (SELECT websearch_to_tsquery('simple',
         regexp_replace(typed, '([^[:space:]"])[-_./:@]+(?=[^[:space:]"])', '\\1 ', 'g')) AS q) AS parsed
     $$`,
];

/** The searchable words of a row: names such as `kitchen-lamp` and `a.example.org` part at their signs, so each part is found. */
export const SEARCH_DOCUMENT = `setweight(to_tsvector('simple', translate(coalesce(search_title, ''), '-_./:@', '      ')), 'A') ||
  setweight(to_tsvector('simple', translate(coalesce(search_text, ''), '-_./:@', '      ')), 'B')`;
