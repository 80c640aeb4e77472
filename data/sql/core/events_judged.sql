-- Event rows, typed, with the first reason why each may not enter core.events (null: it may).
-- core.events judges the rows of its days, core.corrections those of users and items that need other days.
-- A row's fate depends on that row, that user and public constants alone; duplicates are decided within one user and day.
-- For each number: what is wrong with it (`_fault`), and what the contract or the shop file makes of that (`_policy`).
with typed as (
    select
        r.*,
        {% for c in numbers %}
        {{ safe_double('r.' ~ c.name) }} as {{ c.name }}_number,
        {% endfor %}
        sha256(concat_ws(
            '|', r.item_id, r.event_type, r.occurred_at_text, r.quantity, r.value, r.discount, r.session_id, r.channel, r.place, r.text
        )) as content
    from {{ rows }} as r
),
examined as (
    select
        r.*,
        {% for c in numbers %}
        case
            when r.{{ c.name }} is null and {{ c.expected }} then 'missing'
            when r.{{ c.name }} is null then null
            when r.{{ c.name }}_number is null then 'unparsable'
            when r.{{ c.name }}_number < {{ c.minimum }} or r.{{ c.name }}_number > {{ c.maximum }} then 'out_of_range'
        end as {{ c.name }}_fault{{ '' if loop.last else ',' }}
        {% endfor %}
    from typed as r
),
handled as (
    select
        r.*,
        {% for c in numbers %}
        case r.{{ c.name }}_fault
            {% for occasion, policy in c.policy.items() %}
            when '{{ occasion }}' then {{ policy }}
            {% endfor %}
        end as {{ c.name }}_policy{{ '' if loop.last else ',' }}
        {% endfor %}
    from examined as r
),
judged as (
    select
        r.*,
        case
            when r.fault is not null then r.fault
            when r.event_id is null then 'missing_event_id'
            when r.event_type is null or r.event_type not in ({{ event_types }}) then 'unknown_event_type'
            when r.occurred_at_text is not null and r.occurred_at_utc is null then 'unparsable_time'
            when r.occurred_at_text is null and r.is_timed then 'missing_time'
            when r.occurred_at_utc < cast('{{ calendar_start }}' as timestamp) then 'time_before_calendar'
            when r.day = cast('{{ no_day }}' as date) and r.is_timed then 'time_in_future'
            when r.item_id is null and r.event_type <> 'search' then 'missing_item'
            when r.item_id is not null and i.item_id is null then 'unknown_item'
            {% for c in numbers %}
            when r.{{ c.name }}_policy = 'reject' and r.{{ c.name }}_fault <> 'out_of_range'
                then concat(r.{{ c.name }}_fault, '_{{ c.name }}')
            when r.{{ c.name }}_policy = 'reject' and r.{{ c.name }}_number < {{ c.minimum }} then 'negative_{{ c.name }}'
            when r.{{ c.name }}_policy = 'reject' then '{{ c.name }}_out_of_range'
            {% endfor %}
            {% for c in texts %}
            when r.{{ c.name }} is null and {{ c.expected }} and {{ c.policy.missing }} = 'reject' then 'missing_{{ c.name }}'
            {% endfor %}
        end as fault_found,
        case
            {% for c in numbers %}
            when r.{{ c.name }}_fault in ('unparsable', 'out_of_range') then 1
            {% endfor %}
            else 0
        end as is_repaired
    from handled as r
    left join core.items as i on r.item_id = i.item_id
),
ranked as (
    select
        r.*,
        row_number() over (
            partition by r.fault_found is null, r.user_id, r.event_id, r.day
            order by r.is_repaired, r.content, r.file_sha256, r.line
        ) as place_in_id,
        first_value(r.content) over (
            partition by r.fault_found is null, r.user_id, r.event_id, r.day
            order by r.is_repaired, r.content, r.file_sha256, r.line
        ) as kept_content
    from judged as r
)
select
    r.*,
    case
        when r.fault_found is not null then r.fault_found
        when r.place_in_id > 1 and r.content = r.kept_content then 'duplicate'
        when r.place_in_id > 1 then 'conflicting_event_id'
    end as outcome
from ranked as r
