-- Landed event rows, before they are judged: whoever is known by several identifiers is one person from here on.
select
{% for name in columns %}
    {{ 'coalesce(i.user_id, l.user_id) as user_id' if name == 'user_id' else 'l.' ~ name }}{{ '' if loop.last else ',' }}
{% endfor %}
from ({{ landed }}) as l
left join core.identity_days as i on l.user_id = i.identifier and l.day = i.day
