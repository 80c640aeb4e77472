-- Event rows, typed, with the first reason why each may not enter core.events (null: it may).
-- core.events judges the rows of its days, core.corrections those of users and items that need other days.
-- A row's fate depends on that row, that user and public constants alone; duplicates are decided within one user and day.
with typed as (
    select
        r.*,
        {{ safe_double('r.quantity') }} as quantity_number,
        {{ safe_double('r.value') }} as value_number,
        {{ safe_double('r.discount') }} as discount_number,
        sha256(concat_ws(
            '|', r.item_id, r.event_type, r.occurred_at_text, r.quantity, r.value, r.discount, r.session_id, r.channel, r.place, r.text
        )) as content
    from {{ rows }} as r
),
judged as (
    select
        t.*,
        case
            when t.fault is not null then t.fault
            when t.event_id is null then 'missing_event_id'
            when t.event_type is null or t.event_type not in ({{ event_types }}) then 'unknown_event_type'
            when t.occurred_at_text is not null and t.occurred_at_utc is null then 'unparsable_time'
            when t.occurred_at_text is null and t.is_timed then 'missing_time'
            when t.occurred_at_utc < cast('{{ calendar_start }}' as timestamp) then 'time_before_calendar'
            when t.day = cast('{{ no_day }}' as date) and t.is_timed then 'time_in_future'
            when t.item_id is null and t.event_type <> 'search' then 'missing_item'
            when t.item_id is not null and i.item_id is null then 'unknown_item'
            when t.quantity is not null and t.quantity_number is null then 'unparsable_quantity'
            when t.quantity_number < 0 then 'negative_quantity'
            when t.quantity_number > 1000000 then 'quantity_out_of_range'
            when t.value is not null and t.value_number is null then 'unparsable_value'
            when t.value_number < 0 then 'negative_value'
            when t.value_number > 10000000 then 'value_out_of_range'
            when t.discount is not null and t.discount_number is null then 'unparsable_discount'
            when t.discount_number < 0 then 'negative_discount'
            when t.discount_number > 10000000 then 'discount_out_of_range'
        end as fault_found
    from typed as t
    left join core.items as i on t.item_id = i.item_id
),
ranked as (
    select
        j.*,
        row_number() over (
            partition by j.fault_found is null, j.user_id, j.event_id, j.day
            order by j.content, j.file_sha256, j.line
        ) as place_in_id,
        min(j.content) over (partition by j.fault_found is null, j.user_id, j.event_id, j.day) as kept_content
    from judged as j
)
select
    k.*,
    case
        when k.fault_found is not null then k.fault_found
        when k.place_in_id > 1 and k.content = k.kept_content then 'duplicate'
        when k.place_in_id > 1 then 'conflicting_event_id'
    end as reason
from ranked as k
