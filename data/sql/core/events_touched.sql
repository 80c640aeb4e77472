-- The landed rows that corrections are made from: all rows of users and items with a return, or with a value to
-- interpolate, of whatever day, and what shares an id with one of them, since that decides which of them are duplicates. Anonymous rows correct nothing: one
-- basket is no person, and an invoice that cancels another has an id of its own.
with pairs as (
    select distinct r.user_id, r.item_id
    from landed.events as r
    where r.user_id is not null and r.item_id is not null and (
        r.event_type = 'return'
        {% for c in numbers if c.wanted != 'false' %}
        or ({{ c.wanted }} and coalesce({{ safe_double('r.' ~ c.name) }} not between {{ c.minimum }} and {{ c.maximum }}, true))
        {% endfor %}
    )
),
ids as (
    select distinct r.user_id, r.event_id, r.day
    from landed.events as r
    join pairs as p on r.user_id = p.user_id and r.item_id = p.item_id
    where r.event_id is not null
)
select r.*
from landed.events as r
join ids as i on r.user_id = i.user_id and r.event_id = i.event_id and r.day = i.day
