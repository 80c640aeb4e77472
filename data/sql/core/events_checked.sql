-- Every landed event row of the attached days, typed and corrected, with the first reason why it may not enter core.events
-- (null: it may). What other days say of an event comes from core.corrections.
with settled as (
{{ settled }}
),
corrected as (
    select
        j.*,
        coalesce(k.cancelled_quantity, 0e0) as cancelled_number,
        case
            when k.cancelled_quantity > 0e0 then cast(
                cast(j.quantity_given as decimal(28, 6)) - cast(k.cancelled_quantity as decimal(28, 6)) as double
            )
        end as rest_number
    from settled as j
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
        end as final_reason,
        case when c.cancelled_number > 0e0 then c.rest_number / nullif(c.quantity_given, 0e0) end as share_left
    from corrected as c
)
select
    q.final_reason as reason,
    case
        when q.reason in ('missing_event_id', 'conflicting_event_id') then 'event_id'
        when q.reason = 'unknown_event_type' then 'event_type'
        when q.reason in ('unparsable_time', 'missing_time', 'time_in_future', 'time_before_calendar') then 'occurred_at_utc'
        when q.reason in ('missing_item', 'unknown_item') then 'item_id'
        {% for c in numbers %}
        when q.reason in ('missing_{{ c.name }}', 'unparsable_{{ c.name }}', 'negative_{{ c.name }}', '{{ c.name }}_out_of_range')
            then '{{ c.name }}'
        {% endfor %}
        {% for c in texts %}
        when q.reason = 'missing_{{ c.name }}' then '{{ c.name }}'
        {% endfor %}
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
    case when q.share_left is null then q.quantity_given else q.rest_number end as quantity_number,
    q.value_given * coalesce(q.share_left, 1e0) as value_number,
    q.discount_given * coalesce(q.share_left, 1e0) as discount_number,
    q.cancelled_number,
    {% for name in ('session_id', 'channel', 'place') %}
    {{ 'q.' ~ name ~ '_given as ' ~ name if name in filled else 'q.' ~ name }},
    {% endfor %}
    q.text,
    q.imputed_columns,
    q.source,
    q.file,
    q.file_sha256,
    q.line,
    v.input_version
from netted as q
join input_versions as v on q.day = v.day
