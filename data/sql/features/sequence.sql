-- The last fifty distinct items of each user, newest first.
with placed as (
    select
        s.user_id,
        s.key as item_id,
        s.last_at_utc,
        s.as_of_utc,
        row_number() over (partition by s.user_id order by s.last_at_utc desc, s.last_day desc, s.key) as place
    from features.state as s
    where s.facet = 'item'
)
select p.user_id, p.place, p.item_id, p.last_at_utc, p.as_of_utc
from placed as p
where p.place <= 50
order by p.user_id, p.place
