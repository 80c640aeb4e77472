-- Values that are interpolated: between the same user's neighbouring events of the same item and type that have one, by
-- time, and at one instant by what they say; the nearest alone at the ends. Null where there is none, or where the event
-- has no time: then the contract's default holds.
{% for c in numbers %}
{% set before %}
over (
            partition by j.user_id, j.item_id, j.event_type
            order by j.occurred_at_utc, j.content, j.event_id
            rows between unbounded preceding and 1 preceding
        )
{% endset %}
{% set after %}
over (
            partition by j.user_id, j.item_id, j.event_type
            order by j.occurred_at_utc, j.content, j.event_id
            rows between 1 following and unbounded following
        )
{% endset %}
{{ 'with' if loop.first else ',' }} {{ c.name }}_series as (
    select
        j.user_id,
        j.event_id,
        j.day,
        j.occurred_at_utc as at_utc,
        j.{{ c.name }}_policy as policy,
        last_value(case when j.{{ c.name }}_fault is null then j.{{ c.name }}_number end ignore nulls) {{ before }} as value_before,
        last_value(
            case when j.{{ c.name }}_fault is null and j.{{ c.name }}_number is not null then j.occurred_at_utc end ignore nulls
        ) {{ before }} as before_utc,
        first_value(case when j.{{ c.name }}_fault is null then j.{{ c.name }}_number end ignore nulls) {{ after }} as value_after,
        first_value(
            case when j.{{ c.name }}_fault is null and j.{{ c.name }}_number is not null then j.occurred_at_utc end ignore nulls
        ) {{ after }} as after_utc
    from events_judged as j
    where j.outcome is null and j.user_id is not null and j.item_id is not null and j.occurred_at_utc is not null
),
{{ c.name }}_imputed as (
    select
        s.user_id,
        s.event_id,
        s.day,
        coalesce(
            s.value_before + (s.value_after - s.value_before) * {{ elapsed_s('s.before_utc', 's.at_utc') }}
            / nullif({{ elapsed_s('s.before_utc', 's.after_utc') }}, 0e0),
            s.value_before,
            s.value_after
        ) as {{ c.name }}
    from {{ c.name }}_series as s
    where s.policy = 'interpolate'
)
{% endfor %}
select
    j.user_id,
    j.event_id,
    j.day,
    {% for c in numbers %}
    {{ c.name }}_imputed.{{ c.name }}{{ '' if loop.last else ',' }}
    {% endfor %}
from events_judged as j
{% for c in numbers %}
left join {{ c.name }}_imputed
    on j.user_id = {{ c.name }}_imputed.user_id and j.event_id = {{ c.name }}_imputed.event_id and j.day = {{ c.name }}_imputed.day
{% endfor %}
where j.outcome is null and j.user_id is not null and 'interpolate' in (
    {% for c in numbers %}
    coalesce(j.{{ c.name }}_policy, ''){{ '' if loop.last else ',' }}
    {% endfor %}
)
