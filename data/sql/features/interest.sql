-- The strongest interests of each user in each facet. Shares are of what counts for a key; what counts against it is no interest.
-- The sum is taken over decimals, so that no order of rows changes a bit of it.
with liked as (
    select s.user_id, s.facet, s.key, s.as_of_utc, s.decayed_104d as weight
    from features.state as s
    where s.facet <> 'all' and s.decayed_104d > 0e0
),
totals as (
    select l.user_id, l.facet, cast(sum(cast(l.weight as decimal(28, 15))) as double) as weight
    from liked as l
    group by l.user_id, l.facet
),
shared as (
    select l.user_id, l.facet, l.key, l.as_of_utc, l.weight / nullif(t.weight, 0e0) as share
    from liked as l
    join totals as t on t.user_id = l.user_id and t.facet = l.facet
),
placed as (
    select
        h.*,
        row_number() over (partition by h.user_id, h.facet order by {{ rank_key('h.share') }} desc, h.key) as place
    from shared as h
    where h.share is not null
)
select p.user_id, p.facet, p.key, p.place, least(p.share, 1e0) as share, p.as_of_utc
from placed as p
where p.place <= 20
order by p.user_id, p.facet, p.place
