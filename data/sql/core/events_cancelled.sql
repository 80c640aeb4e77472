-- What cancels out between the purchases and the returns of one user and item: a return takes back the latest purchases
-- at or before it, part of one or several; what it finds no purchase for stays with it.
-- A stack: each purchase lays its units on top, each return takes units off, the empty stack stays empty. `height` is
-- the running balance above its lowest value so far (or 0), and of a purchase those units stay that lie below the lowest
-- height from then on. Windows alone say all that, whatever order the rows landed in.
-- Rows of one instant are taken in the order of what they say: an id may be made from the pseudonym, and then its order is
-- that of a key. Only rows that say the same, down to the last column, go by their ids.
{% set in_time %}
partition by m.user_id, m.item_id
            order by m.at_utc, m.is_return, m.day, m.content, m.event_id
{% endset %}
with returned as (
    select distinct j.user_id, j.item_id
    from events_settled as j
    where j.event_type = 'return' and j.user_id is not null and j.item_id is not null
),
moved as (
    select
        j.user_id,
        j.item_id,
        j.event_id,
        j.content,
        j.day,
        coalesce(j.occurred_at_utc, cast(j.day as timestamp)) as at_utc,
        case when j.event_type = 'return' then 1 else 0 end as is_return,
        cast(j.quantity_given as decimal(28, 6)) as units
    from events_settled as j
    join returned as r on j.user_id = r.user_id and j.item_id = r.item_id
    where j.reason is null and j.event_type in ('purchase', 'return')
),
balanced as (
    select
        m.*,
        sum(case when m.is_return = 1 then -m.units else m.units end) over (
            {{ in_time }}
            rows between unbounded preceding and current row
        ) as balance
    from moved as m
),
grounded as (
    select
        m.*,
        m.balance - least(
            cast(0 as decimal(28, 6)),
            min(m.balance) over (
                {{ in_time }}
                rows between unbounded preceding and current row
            )
        ) as height
    from balanced as m
),
surrounded as (
    select
        m.*,
        coalesce(lag(m.height) over ({{ in_time }}), cast(0 as decimal(28, 6))) as height_before,
        min(m.height) over (
            {{ in_time }}
            rows between current row and unbounded following
        ) as lowest_after
    from grounded as m
)
select
    m.user_id,
    m.event_id,
    m.day,
    m.is_return,
    m.units,
    case
        when m.is_return = 1 then m.height_before - m.height
        else m.units - greatest(m.lowest_after - m.height_before, cast(0 as decimal(28, 6)))
    end as cancelled
from surrounded as m
