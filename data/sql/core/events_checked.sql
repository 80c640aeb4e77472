-- Every landed event row of the attached days, typed and corrected, with the first reason why it may not enter core.events
-- (null: it may). What other days say of an event comes from core.corrections.
with judged as (
{{ judged }}
),
corrected as (
    select
        j.*,
        coalesce(k.cancelled_quantity, 0e0) as cancelled_number,
        coalesce(j.quantity_number, cast(1 as double)) as given_number,
        cast(
            cast(coalesce(j.quantity_number, cast(1 as double)) as decimal(28, 6))
            - cast(coalesce(k.cancelled_quantity, 0e0) as decimal(28, 6)) as double
        ) as rest_number
    from judged as j
    left join core.corrections as k
        on j.reason is null and j.user_id = k.user_id and j.event_id = k.event_id and j.day = k.day
),
netted as (
    select
        c.*,
        case
            when c.reason is null and c.event_type = 'purchase' and c.cancelled_number > 0e0 and c.rest_number <= 0e0
                then 'cancelled'
            else c.reason
        end as outcome,
        case when c.cancelled_number > 0e0 then c.rest_number / nullif(c.given_number, 0e0) end as share_left
    from corrected as c
)
select
    q.outcome as reason,
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
    case when q.share_left is null then q.given_number else q.rest_number end as quantity_number,
    coalesce(q.value_number, cast(0 as double)) * coalesce(q.share_left, 1e0) as value_number,
    coalesce(q.discount_number, cast(0 as double)) * coalesce(q.share_left, 1e0) as discount_number,
    q.cancelled_number,
    q.session_id,
    q.channel,
    q.place,
    q.text,
    q.source,
    q.file,
    q.file_sha256,
    q.line,
    v.input_version
from netted as q
join input_versions as v on q.day = v.day
