-- Rates, by the generic cell rate algorithm (ITU-T I.371): next_at, the theoretical arrival time of the next job, is all that is kept of a
-- scope (gates.sql).

-- Of a rate: the seconds from one to the next, how many may go together, and the time that those who did not come have saved up. In
-- seconds, as an interval knows no less than a microsecond, and with bounds that keep every sum inside the calendar.
CREATE OR REPLACE FUNCTION :schema.rate_steps(rate integer, period interval, burst integer, OUT every double precision, OUT burst integer, OUT saved interval)
LANGUAGE sql IMMUTABLE AS $$
    SELECT e.every, b.burst, LEAST(1e9, (b.burst - 1) * e.every) * interval '1 second'
    FROM (SELECT extract(epoch FROM $2)::double precision / $1 AS every) e
    CROSS JOIN LATERAL (SELECT COALESCE($3, GREATEST(1, LEAST(1e9, ceil(0.05 / e.every))))::integer AS burst) b
$$;

-- next_at as it counts at a moment. One step ahead is the most that a rate ever puts it: beyond that it is of a slower rate that was said
-- before, or of a clock that was set back, and nobody waits for those.
CREATE OR REPLACE FUNCTION :schema.rate_due(next_at timestamptz, every double precision, now timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN $1 > $3 + LEAST(1e10, 1.01 * $2 + 0.1) * interval '1 second' THEN $3 ELSE $1 END
$$;

-- How many a rate lets through at a moment, by the generic cell rate algorithm (ITU-T I.371): next_at is the theoretical arrival time
-- of the next one. Without a burst as many may go together as belong to 50 ms: claims do not come more often.
CREATE OR REPLACE FUNCTION :schema.rate_room(next_at timestamptz, rate integer, period interval, burst integer, now timestamptz)
RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN d.due > $5 THEN 0
        ELSE LEAST(b.burst, 1 + floor(LEAST(1e9, extract(epoch FROM $5 - GREATEST(d.due, $5 - b.saved)) / b.every + 1e-6)))::integer END
    FROM :schema.rate_steps($2, $3, $4) b CROSS JOIN LATERAL (SELECT :schema.rate_due($1, b.every, $5) AS due) d
$$;

-- next_at after so many have gone through.
CREATE OR REPLACE FUNCTION :schema.rate_next(next_at timestamptz, rate integer, period interval, burst integer, now timestamptz, gone bigint)
RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT GREATEST(:schema.rate_due($1, b.every, $5), $5 - b.saved) + LEAST(1e10, $6 * b.every) * interval '1 second' FROM :schema.rate_steps($2, $3, $4) b
$$;

-- When to look at a rate again: as soon as what belongs to 10 ms has gathered, so that a high rate does not mean a claim for each job.
CREATE OR REPLACE FUNCTION :schema.rate_opens(next_at timestamptz, rate integer, period interval, burst integer, now timestamptz)
RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT :schema.rate_due($1, b.every, $5) + LEAST(1e10, GREATEST(0, LEAST(COALESCE($4, 1000000), ceil(0.01 / b.every)) - 1) * b.every) * interval '1 second'
    FROM :schema.rate_steps($2, $3, $4) b
$$;
