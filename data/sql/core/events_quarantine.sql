-- What was set aside, with the value at fault masked.
with shown as (
    select
        c.*,
        case c.column_name
            when 'event_id' then c.event_id
            when 'event_type' then c.event_type
            when 'occurred_at_utc' then c.occurred_at_text
            when 'item_id' then c.item_id
            when 'quantity' then c.quantity
            when 'value' then c.value
            when 'discount' then c.discount
        end as fault_value
    from events_checked as c
    where c.reason is not null
)
select
    s.reason,
    s.column_name,
    case when s.fault_value is not null then {{ masked('s.fault_value') }} end as masked_value,
    s.user_id,
    s.event_id as row_id,
    s.source,
    s.file,
    s.file_sha256,
    s.line,
    s.day,
    s.input_version
from shown as s
order by s.day, s.source, s.file, s.line
