-- What interpolation and the matching of returns say about each event that they read; also that nothing of it is
-- cancelled, so that a day stays listed when a late purchase takes over the return of an earlier one.
select
    coalesce(c.user_id, m.user_id) as user_id,
    coalesce(c.event_id, m.event_id) as event_id,
    coalesce(c.day, m.day) as day,
    coalesce(cast(c.cancelled as double), 0e0) as cancelled_quantity,
    m.quantity,
    m.value,
    m.discount
from events_cancelled as c
full outer join events_imputed as m on c.user_id = m.user_id and c.event_id = m.event_id and c.day = m.day
order by day, user_id, event_id
