-- Plants overloads of operators and functions in the schema of the store. PostgreSQL prefers one that
-- takes exactly the types of its arguments, wherever it is in the search path, so these are called
-- wherever a statement relies on a conversion or a polymorphic type. All of them raise.

-- The statements that plant them must not call them.
SET search_path = pg_catalog;

DO $$
DECLARE
    types CONSTANT regtype[] := ARRAY['text', 'varchar', 'name', '"char"', 'smallint', 'integer',
        'bigint', 'numeric', 'double precision', 'boolean', 'json', 'timestamp', 'timestamptz',
        'interval', 'oid', 'regclass', 'regnamespace', 'text[]', 'bigint[]', 'integer[]'];
    planted record;
BEGIN
    FOR planted IN
        SELECT t1, t2 FROM unnest(types) AS t1, unnest(types) AS t2
    LOOP
        EXECUTE format('CREATE FUNCTION public.planted(%s, %s) RETURNS boolean LANGUAGE plpgsql AS %L',
            planted.t1, planted.t2,
            format('BEGIN RAISE EXCEPTION ''a planted operator was called: (%s, %s)''; END',
                planted.t1, planted.t2));
    END LOOP;
    FOR planted IN
        SELECT op, t1, t2
        FROM unnest(ARRAY['=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '/', '%', '||']) AS op,
            unnest(types) AS t1, unnest(types) AS t2
        WHERE NOT EXISTS (SELECT FROM pg_operator
            WHERE oprname = op AND oprleft = t1 AND oprright = t2)
    LOOP
        EXECUTE format(
            'CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.planted)',
            planted.op, planted.t1, planted.t2);
    END LOOP;
    FOR planted IN
        WITH used AS (SELECT DISTINCT proname, pronargs FROM pg_proc
            WHERE proname = ANY (:names) AND pronamespace = 'pg_catalog'::regnamespace),
        wanted AS (
            SELECT proname, ARRAY[t1] AS args FROM used, unnest(types) AS t1
            WHERE pronargs = 1
            UNION
            SELECT proname, ARRAY[t1, t2]
            FROM used, unnest(types) AS t1, unnest(types[1:10] || types[15:18]) AS t2
            WHERE pronargs = 2
        )
        SELECT proname, array_to_string(args, ', ') AS args FROM wanted
        WHERE NOT EXISTS (SELECT FROM pg_proc WHERE pg_proc.proname = wanted.proname
            AND proargtypes::oid[] = args::oid[])
    LOOP
        EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS boolean LANGUAGE plpgsql AS %L',
            planted.proname, planted.args,
            format('BEGIN RAISE EXCEPTION ''a planted function was called: %s(%s)''; END',
                planted.proname, planted.args));
    END LOOP;
END
$$;
