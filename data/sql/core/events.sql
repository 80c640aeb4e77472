-- The clean events.
select
    c.event_id,
    c.user_id,
    c.item_id,
    c.event_type,
    c.occurred_at_utc,
    c.day,
    c.quantity_number as quantity,
    c.value_number as value,
    c.discount_number as discount,
    c.cancelled_number as cancelled_quantity,
    c.session_id,
    c.channel,
    c.place,
    c.text,
    c.imputed_columns is not null as is_imputed,
    c.imputed_columns,
    c.source,
    c.input_version
from events_checked as c
where c.reason is null
order by c.day, c.user_id, c.occurred_at_utc, c.event_id
