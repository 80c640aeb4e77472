-- What was set aside, with the value at fault masked: one row for all lines that differ by their place alone.
with shown as (
    select
        c.*,
        case c.column_name
            when 'item_id' then c.item_id
            when 'valid_from_utc' then c.valid_from_text
            when 'valid_until_utc' then coalesce(c.valid_until_text, c.valid_from_text)
        end as fault_value
    from promotions_checked as c
    where c.reason is not null
)
select
    s.reason,
    s.column_name,
    case when s.fault_value is not null then {{ masked('s.fault_value') }} end as masked_value,
    cast(null as varchar) as user_id,
    s.item_id as row_id,
    s.source,
    s.file,
    s.file_sha256,
    s.line,
    s.day,
    s.input_version
from shown as s
order by s.day, s.source, s.file, s.line
