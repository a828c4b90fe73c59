-- A table to ask things about: the planets, and moons worth a visit.
create table planets (
  name text primary key,
  radius_km integer not null,
  day_hours numeric not null,
  year_days numeric not null,
  rings boolean not null default false
);
insert into planets values
  ('Mercury', 2440, 4222.6, 88.0, false),
  ('Venus', 6052, 2802.0, 224.7, false),
  ('Earth', 6371, 24.0, 365.2, false),
  ('Mars', 3390, 24.7, 687.0, false),
  ('Jupiter', 69911, 9.9, 4331, true),
  ('Saturn', 58232, 10.7, 10747, true),
  ('Uranus', 25362, 17.2, 30589, true),
  ('Neptune', 24622, 16.1, 59800, true);
create table moons (
  name text primary key,
  planet text not null references planets,
  radius_km integer not null,
  found integer,
  finder text
);
insert into moons values
  ('Moon', 'Earth', 1737, null, null),
  ('Phobos', 'Mars', 11, 1877, 'Asaph Hall'),
  ('Deimos', 'Mars', 6, 1877, 'Asaph Hall'),
  ('Io', 'Jupiter', 1822, 1610, 'Galileo Galilei'),
  ('Europa', 'Jupiter', 1561, 1610, 'Galileo Galilei'),
  ('Ganymede', 'Jupiter', 2634, 1610, 'Galileo Galilei'),
  ('Callisto', 'Jupiter', 2410, 1610, 'Galileo Galilei'),
  ('Titan', 'Saturn', 2575, 1655, 'Christiaan Huygens'),
  ('Rhea', 'Saturn', 764, 1672, 'Giovanni Domenico Cassini'),
  ('Enceladus', 'Saturn', 252, 1789, 'William Herschel'),
  ('Miranda', 'Uranus', 236, 1948, 'Gerard Kuiper'),
  ('Titania', 'Uranus', 788, 1787, 'William Herschel'),
  ('Triton', 'Neptune', 1353, 1846, 'William Lassell');
