-- Every landed event row, typed, with the first reason why it may not enter core.events (null: it may).
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
    from landed.events as r
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
),
reasoned as (
    select
        k.*,
        case
            when k.fault_found is not null then k.fault_found
            when k.place_in_id > 1 and k.content = k.kept_content then 'duplicate'
            when k.place_in_id > 1 then 'conflicting_event_id'
        end as reason
    from ranked as k
)
select
    q.reason,
    case
        when q.reason in ('missing_event_id', 'conflicting_event_id') then 'event_id'
        when q.reason = 'unknown_event_type' then 'event_type'
        when q.reason in ('unparsable_time', 'missing_time', 'time_in_future', 'time_before_calendar') then 'occurred_at_utc'
        when q.reason in ('missing_item', 'unknown_item') then 'item_id'
        when q.reason in ('unparsable_quantity', 'negative_quantity', 'quantity_out_of_range') then 'quantity'
        when q.reason in ('unparsable_value', 'negative_value', 'value_out_of_range') then 'value'
        when q.reason in ('unparsable_discount', 'negative_discount', 'discount_out_of_range') then 'discount'
    end as column_name,
    q.event_id,
    q.user_id,
    q.item_id,
    q.event_type,
    q.occurred_at_utc,
    q.occurred_at_text,
    q.day,
    q.quantity,
    q.value,
    q.discount,
    coalesce(q.quantity_number, cast(1 as double)) as quantity_number,
    coalesce(q.value_number, cast(0 as double)) as value_number,
    coalesce(q.discount_number, cast(0 as double)) as discount_number,
    q.session_id,
    q.channel,
    q.place,
    q.text,
    q.source,
    q.file,
    q.file_sha256,
    q.line,
    v.input_version
from reasoned as q
join input_versions as v on q.day = v.day
