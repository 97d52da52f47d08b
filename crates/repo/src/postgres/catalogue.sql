-- The parts of the store's schema, read from the system's catalogues alone: whatever stands in place of
-- a table is not read. $1 has the names of the store's tables and views. Definitions that PostgreSQL may
-- word otherwise in another version, of views for one, are left out.
WITH place AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname = current_schema()
), ours AS (
    SELECT pg_class.oid, relname::text AS name, relkind, relpersistence, relrowsecurity
    FROM pg_class JOIN place ON relnamespace = place.oid
    WHERE relname::text = ANY ($1) AND relkind IN ('r', 'p', 'f', 'v', 'm')
), parts (kind, name, place, definition) AS (
    SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'table' END, name, name,
        pg_catalog.concat_ws(E'\n',
            CASE WHEN relkind NOT IN ('r', 'v') THEN 'of kind ' || relkind::text END,
            CASE relpersistence WHEN 'p' THEN NULL ELSE 'not kept in a crash' END,
            (
                SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ',
                    attname::text, pg_catalog.format_type(atttypid, atttypmod),
                    CASE WHEN attnotnull THEN 'NOT NULL' END,
                    CASE WHEN attgenerated <> '' OR attidentity <> '' THEN 'GENERATED' END,
                    (SELECT 'COLLATE ' || collname::text FROM pg_collation WHERE oid = attcollation),
                    (SELECT 'DEFAULT ' || pg_catalog.pg_get_expr(adbin, adrelid)
                     FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum)
                ), E'\n' ORDER BY attnum)
                FROM pg_attribute WHERE attrelid = ours.oid AND attnum > 0 AND NOT attisdropped
            ))
    FROM ours
    UNION ALL
    SELECT 'row security', name, name, '' FROM ours WHERE relrowsecurity
    UNION ALL
    SELECT 'policy', polname::text, name, '' FROM pg_policy JOIN ours ON polrelid = ours.oid
    UNION ALL
    -- Their rows are read as the table's.
    SELECT 'child table', inhrelid::regclass::text, name, ''
    FROM pg_inherits JOIN ours ON inhparent = ours.oid
    UNION ALL
    SELECT 'constraint', conname::text, name,
        pg_catalog.concat_ws(' ', pg_catalog.pg_get_constraintdef(pg_constraint.oid),
            (SELECT CASE WHEN pg_catalog.bool_or(tgenabled IN ('D', 'R')) THEN 'DISABLED'
                WHEN pg_catalog.bool_or(tgenabled = 'A') THEN 'ALWAYS' END
             FROM pg_trigger WHERE tgconstraint = pg_constraint.oid))
    FROM pg_constraint JOIN ours ON conrelid = ours.oid
    -- Later versions list NOT NULL, which the table has, and all list the triggers of constraints.
    WHERE contype NOT IN ('n', 't')
    UNION ALL
    SELECT 'index', index.relname::text, name,
        pg_catalog.concat_ws(' ',
            CASE WHEN indisunique THEN 'unique'
                WHEN indexprs IS NOT NULL OR indpred IS NOT NULL THEN 'computed' ELSE 'plain' END,
            CASE WHEN NOT indisvalid THEN 'INVALID' END,
            (SELECT pg_catalog.string_agg(
                pg_catalog.pg_get_indexdef(indexrelid, number, true), ', ' ORDER BY number)
             FROM pg_catalog.generate_series(1, indnatts::integer) AS number),
            'WHERE ' || pg_catalog.pg_get_expr(indpred, indrelid))
    FROM pg_index JOIN ours ON indrelid = ours.oid
    JOIN pg_class AS index ON index.oid = indexrelid
    WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid)
    UNION ALL
    SELECT 'trigger', tgname::text, name,
        pg_catalog.concat_ws(' ', CASE tgenabled WHEN 'A' THEN 'ALWAYS' WHEN 'D' THEN 'DISABLED'
                WHEN 'R' THEN 'DISABLED' END,
            pg_catalog.pg_get_triggerdef(pg_trigger.oid, true))
    FROM pg_trigger JOIN ours ON tgrelid = ours.oid
    WHERE NOT tgisinternal
    UNION ALL
    SELECT 'rule', rulename::text, name, ''
    FROM pg_rewrite JOIN ours ON ev_class = ours.oid
    WHERE rulename::text <> '_RETURN'
    UNION ALL
    SELECT 'function', pg_proc.oid::regprocedure::text, '',
        pg_catalog.concat_ws(E'\n', lanname::text, pg_catalog.format_type(prorettype, NULL),
            CASE WHEN prosecdef THEN 'SECURITY DEFINER' END,
            -- It names the schema, which has another name in each store.
            pg_catalog.replace(pg_catalog.array_to_string(proconfig, E'\n'),
                'search_path=' || pg_catalog.quote_ident(nspname::text) || ', pg_temp',
                'search_path=…, pg_temp'),
            pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(prosrc, 'UTF8')), 'hex'))
    FROM pg_proc JOIN place ON pronamespace = place.oid
    JOIN pg_language ON pg_language.oid = prolang
    WHERE pg_catalog.starts_with(proname::text, 'turnkeep_')
)
SELECT kind, name, place, pg_catalog.left(definition, 20000) AS definition
FROM parts LIMIT 10000
