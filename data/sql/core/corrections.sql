-- What the matching of returns says about each event that it read; also that nothing of it is cancelled, so that a day
-- stays listed when a late purchase takes over the return of an earlier one.
select
    c.user_id,
    c.event_id,
    c.day,
    cast(c.cancelled as double) as cancelled_quantity
from events_cancelled as c
order by c.day, c.user_id, c.event_id
